"""What an image is made from: files, ignore rules, fingerprints, locks, git, credentials.

It imports `model`.
"""
