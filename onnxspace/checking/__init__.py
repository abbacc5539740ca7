"""Is this artifact still the model it was? What is observed of it, what it is held against, and the verdict."""
