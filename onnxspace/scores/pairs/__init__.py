"""Likeness of two models from what each makes of the same images, without labels."""
