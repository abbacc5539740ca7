"""Passes that bring a converted graph to one canonical form, whatever exporter wrote it: one module per family."""
