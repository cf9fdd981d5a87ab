"""Runs a UDF image as Numaflow would, and judges its answers.

It imports all rooms up to `build`.
"""
