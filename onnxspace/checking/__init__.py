"""Check whether an artifact is still the model it was: observe it, compare it with a baseline, give a verdict."""
