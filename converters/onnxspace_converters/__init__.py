"""Exporters for models of other frameworks. Each `from_*` module wraps one framework, and imports it when it is used.

A package of its own, because `onnxspace` imports no other framework than Torch; these exporters are found through entry
points, as a third party's are.
"""
