"""One module per command, imported when its command is run: parse arguments, make one call, print, and exit."""
