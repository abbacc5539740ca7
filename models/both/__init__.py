"""Both zoos with known transfers side by side."""
