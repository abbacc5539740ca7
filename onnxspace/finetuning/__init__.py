"""Fine-tuning of converted networks: a graph that trains as the original does, and many short runs under a budget of time."""

__all__: list[str] = []
