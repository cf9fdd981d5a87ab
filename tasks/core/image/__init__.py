"""An image as bytes: layers, config, manifest, index. Pure.

It imports `model` and `inputs`.
"""
