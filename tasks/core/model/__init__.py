"""The words of the project: settings, UDFs, errors, labels, image references, the contract.

It imports nothing of ours. Its modules do no I/O but to read settings and UDF folders.
"""
