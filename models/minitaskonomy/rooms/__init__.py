"""Rendered rooms: scenes drawn from seeds, ray casting, the labels of all tasks, and the splits on disk."""
