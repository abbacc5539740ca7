"""The text that commands print for people.

Separate from the commands, so that what is printed depends on results alone and can be tested without running a command.
"""
