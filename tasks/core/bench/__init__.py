"""`invoke bench`: build times and bytes of several strategies, measured side by side.

``strategies`` and ``scenarios`` say what is measured, ``workspace`` and ``process`` how, and
``runner`` measures it into ``results``. The rest reads results: ``summary`` and ``check`` are
pure, ``tables``, ``charts`` and ``page`` show them.
"""
