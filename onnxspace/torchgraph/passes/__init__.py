"""Passes that bring a converted graph to one canonical form, whatever exporter wrote it: one module per family.

Separate from `operators`, because a converter handles one node, and a pass a pattern of several.
"""
