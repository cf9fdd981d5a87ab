"""`invoke bench`: build times and bytes of several approaches, measured side by side.

``approaches`` and ``scenarios`` say what is measured, ``commands``, ``workspace`` and ``process``
how, and ``jobs`` and ``runner`` measure it into ``results``, on the engine of ``lab`` and with
the programs of ``tools``. ``own`` measures a user's own UDF. The rest reads results: ``summary``
and ``check`` are pure, ``tables``, ``charts`` and ``page`` show them.

Kept tools do not time the loop: hyperfine and pyperf run one command many times, and here the
approaches take turns, each after its own change to a copy, with a look at the image afterwards.
"""
