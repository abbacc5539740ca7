"""What changed between two models: nodes matched by the values that they compute, weights compared, and sentences on what was done.

`child/` is all that runs in the worker process that reads the files.
"""
