"""A private Docker engine for machines without Docker: packages, daemon, Python image.

It imports `model` and `engine`.
"""
