"""`invoke doctor`: what may keep images from being built, one check at a time."""
