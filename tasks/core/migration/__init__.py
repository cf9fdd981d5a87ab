"""Moving old UDFs over: reading their Makefiles and Dockerfiles, planning, applying, undoing.

Modules, lowest first: ``remarks``, ``shell``, ``makefile`` and ``dockerfile`` read the files;
``commands`` finds the builds and ``legacy`` the UDFs; ``stages`` and ``steps`` read an image,
``process`` and ``environment`` how it starts; ``pythons``, ``sources`` and ``dependencies`` say
the rest of what it is made of. ``plan`` has what changes, ``udf_plan`` for one UDF and
``settings_file`` for all; ``show`` prints it, ``run`` and ``journal`` apply and undo it.
"""
