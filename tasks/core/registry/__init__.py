"""A registry over HTTP: manifests, blobs, tags, logins.

It imports `model` and `image`.
"""
