"""All that runs inside the sandbox of `check`, in a process of its own.

It is a package of its own so that it is clear which code handles untrusted files; the parent process imports none of it.
"""
