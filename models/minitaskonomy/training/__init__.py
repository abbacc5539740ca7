"""Training and export: one network for each task, in PyTorch, Keras or JAX, each in a process of its own."""
