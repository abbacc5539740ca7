"""One module for each public verb, and the run that they share.

Here alone computing and comparing meet; commands and Python call the same functions.
"""
