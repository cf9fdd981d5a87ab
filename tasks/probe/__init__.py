"""The program that plays Numaflow's main container, in a container beside the UDF's.

It runs where gRPC and the SDK's protocol stubs are: the base image, or the UDF's own. It
says on stdout, one JSON object a line, what it saw; whether that is right is judged on the
other side, in ``tasks/core/verification/run.py``.
"""
