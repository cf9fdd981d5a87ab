"""Moving old UDFs over: reading their Makefiles and Dockerfiles, planning, applying, undoing.

Modules, lowest first: ``remarks``, ``shell``, ``makefile`` and ``dockerfile`` read the files;
``commands`` finds the builds, ``legacy`` the UDFs, ``image``, ``process``, ``sources`` and
``dependencies`` what each is made of; ``plan`` says what changes, and ``journal`` does it.
"""
