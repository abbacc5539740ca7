"""Maps and gradient fields of one model on probe images.

Its results are arrays. Storing and comparing them is left to other packages, so that a new method changes nothing else.
"""
