"""A Docker engine where there is none: its packages, its daemon, its Python image.

It imports `model` and `engine`.
"""
