"""What has to be made, and why: facts in, a plan out. Pure: no I/O.

It imports `model`, `inputs` and `image`.
"""
