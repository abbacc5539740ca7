"""Runs on several machines with Dask: maps by model and image range, affinities by block of the matrix.

A package of its own, because Dask is optional: it is imported only where a cluster is named.
"""
