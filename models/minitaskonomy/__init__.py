"""A small Taskonomy: rendered rooms, twenty tasks, a network for each, and every transfer between them."""
