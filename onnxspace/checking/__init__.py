"""Check whether an artifact is still the model it was: observe it, compare it with a baseline, give a verdict.

A package of its own, because a check reads untrusted files in a child process, and the parent judges from what it reports.
"""
