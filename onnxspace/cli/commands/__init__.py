"""One module for each command: parse, one call, print, exit code. Loaded when its command is called."""
