"""The program that acts as Numaflow's main container, in a container beside the UDF's.

It runs where gRPC and the protocol stubs of the SDK are: in the base image, or in the UDF's own.
On stdout it writes what it observes, one JSON object a line. Whether that is right is judged
elsewhere, in ``tasks/core/verification``.
"""
