"""One module per command, imported when its command is run: parse arguments, make one call, print, and exit.

Separate modules, so that `--help` is instant and a command loads only what it needs.
"""
