"""What people read and how a run ends: tables, sizes, JSON, progress. The only room that prints.

It imports `model`.
"""
