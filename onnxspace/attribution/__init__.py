"""Maps and gradient fields of one model on probe images.

It ends at arrays: who keeps or compares them is not known here.
"""
