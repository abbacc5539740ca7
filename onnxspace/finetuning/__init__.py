"""Fine-tuning of converted networks: a graph that trains as the original does, and many short runs within a budget of time.

It is a package because it needs Torch and runs in processes of its own, which training may crash; the ranking that follows is
`onnxspace.scores.finetuned`, which needs neither.
"""

__all__: list[str] = []
