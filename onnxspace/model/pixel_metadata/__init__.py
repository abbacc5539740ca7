"""What is written about a model's pixels: in the file's metadata, and in files beside it that a framework or a tool put there.

Each reader returns the options that its source states, with the origin `read`; all of it is untrusted.
"""
