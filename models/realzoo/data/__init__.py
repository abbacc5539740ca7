"""Labelled images of each task, 32 × 32 RGB, from packages or drawn from seeds."""
