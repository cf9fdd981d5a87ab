"""Gathers the facts, carries a plan out, and tells the results.

It imports all rooms below it.
"""
