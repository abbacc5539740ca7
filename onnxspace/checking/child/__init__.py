"""All that runs inside the sandbox of `check`, in a process of its own.

A package apart, so that it is plain which code meets an untrusted file, and that the parent imports none of it.
"""
