"""What keeps a repository in order: doctor, clean, deps, SBOM, new UDFs.

It imports all rooms up to `build`, and `verification`.
"""
