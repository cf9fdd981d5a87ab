"""Runs the image of a UDF the way Numaflow would use it, and judges its answers.

It may import all rooms up to `build`.
"""
