"""What a user writes: every public verb, as `mypy --strict` and pyright read it. It is checked, and not run."""

from __future__ import annotations

from pathlib import Path

import onnxspace as ox
from onnxspace.evaluation import Table, evaluate
from onnxspace.scores import logme

models = sorted(Path("models").glob("*.onnx"))
probes = ox.Probes.from_folder("photos", images=100)
affinity = ox.score(models, probes, by=["attribution", "cka"], pixels="imagenet", certainty=True)
best, value = affinity.rank("a").sources[0]
print(best.upper(), round(value, 3), affinity.matrix.shape, affinity.certainty["a"].settled)
rated = ox.rate(models, ox.Photos.open("labelled"), ["knn", "logme"])
places: dict[str, int] = rated.places("knn")
tried = ox.rank_finetuned(models, "labelled", budget=600.0)
answers = ox.rank_by_answers("a.onnx", models, probes)
print(places, tried.names[0], answers.models[0].result, ox.finetune("a.onnx", "labelled").losses)
faithful = ox.measure_faithfulness("a.onnx", probes, ["elrp"]).models[0].values
print(ox.diff("a.onnx", "b.onnx").verdict, sorted(faithful), ox.sweep_precision("a.onnx", "int8").keep)
table = ox.layers("a.onnx", "b.onnx", probes, options=ox.Options(samples=4))
print("none" if table.best is None else table.best.tensor, table.advice, ox.compare_layers("a.onnx", "b.onnx").sources)
space = ox.Space.create("zoo.space", probes, "elrp")
added = space.add(models, license="apache-2.0", tags=["team"])
print(added.names, [failure.error for failure in added.failed], space.where("tag=team").nearest("a", 5)[0].affinity)
model = ox.open_model("a.onnx")
verdict = ox.check("b.onnx", against="a.onnx", limit={"affinity": 0.99})
print(verdict.outcome, [one.kept for one in verdict.findings], ox.inspect("a.onnx").candidates[0].below)
graph, maps = ox.to_torch(model), ox.attribute(model, probes, method="gradient-x-input")
print(graph.graph, maps.mean(), logme(maps.reshape(len(maps), -1), [0, 1] * 50))
try:
    found = evaluate(Table.read("known.csv"), [Table.read("affinity.csv")], relevant=3)
    print(found.scored[0].measures["weighted_tau"].mean, ox.explain(models[:2], ["cat.jpg"]).names)
except ox.OnnxspaceError as error:
    print(error)
