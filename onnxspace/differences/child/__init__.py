"""All of `diff` that opens, runs and compares models, in a worker process.

It is a package of its own so that it is clear which code handles untrusted files; the parent process imports none of it.
"""
