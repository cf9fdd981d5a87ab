"""Images as bytes: layers, configs, manifests, indexes, and the archives that engines load.

Everything here is a pure function of what is given: equal inputs give equal bytes on every
machine and every Python. Nothing is read but the files that are to go into a layer, and nothing
is written but the layer cache. May import ``model`` and ``inputs``; knows no engine, no
registry and no plan.
"""
