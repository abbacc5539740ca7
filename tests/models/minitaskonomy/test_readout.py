"""Readouts against scikit-learn and constructed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from models.minitaskonomy.oracle import (
    examples,
    readout,
    ridge,
    sampling,
    transfers,
    whole_image,
)
from models.minitaskonomy.oracle.readout import Budget
from models.minitaskonomy.oracle.sampling import Settings
from models.minitaskonomy.tasks import TASKS, Task

DEPTH, NORMALS, SEMANTIC, OBJECT, LAYOUT = (TASKS[name] for name in ("depth", "normals", "semantic", "object", "layout"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def labels_of(task: Task, images: int, rng: np.random.Generator) -> torch.Tensor:
    """Labels that nothing is known of."""
    if task.kind == "image":
        return torch.from_numpy(rng.standard_normal((images, task.channels, 64, 64), np.float32))
    if task.kind == "vector":
        return torch.from_numpy(rng.standard_normal((images, task.channels), np.float32))
    shape = (images, 64, 64) if task.kind == "pixel classes" else (images,)
    return torch.from_numpy(rng.integers(0, task.channels, shape))


def features(images: int, rng: np.random.Generator, channels: int = 20) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((images, channels, 8, 8), np.float32))


def test_answers_are_every_second_pixel_of_each_position(rng: np.random.Generator) -> None:
    labels = labels_of(NORMALS, 2, rng)
    classes = labels_of(SEMANTIC, 2, rng)
    found, pixels = examples.arrange_answers(NORMALS, labels), examples.arrange_answers(SEMANTIC, classes)
    assert found.shape == (2, 64, 48)
    for image, row, column, channel, down, across in rng.integers(0, (2, 8, 8, 3, 4, 4), (50, 6)):
        y, x = 8 * row + 2 * down, 8 * column + 2 * across
        assert found[image, 8 * row + column, 16 * channel + 4 * down + across] == labels[image, channel, y, x]
        assert pixels[image, 8 * row + column, 4 * down + across] == classes[image, y, x]


def test_neighbourhoods_hold_the_nine_positions_around(rng: np.random.Generator) -> None:
    values = features(2, rng, 3)
    found = examples.gather_neighbourhoods(values)
    assert found.shape == (2, 64, 32)
    around = found[1, 8 * 4 + 5, :27].reshape(3, 3, 3)
    assert torch.equal(around, values[1, :, 3:6, 4:7])
    assert torch.equal(found[..., 27:], torch.tensor([1.0, 0, 0, 0, 0]).expand(2, 64, 5))
    assert found[0, 0, :27].reshape(3, 3, 3)[:, 0].abs().sum() == 0


@pytest.mark.parametrize("task", [DEPTH, NORMALS, SEMANTIC, OBJECT, LAYOUT], ids=lambda task: task.name)
def test_what_is_said_without_looking_has_loss_one(task: Task, rng: np.random.Generator) -> None:
    truth = examples.arrange_answers(task, labels_of(task, 30, rng))
    prior = examples.compute_priors(task, truth)
    readouts = readout.Readouts([task], 32, [prior], seed=0)
    known = [examples.compute_reference(task, truth, prior)]
    loss = readout.measure_losses(readouts, torch.randn(30, 64, 32), examples.Truths.of([task], [truth]), known)
    assert loss.item() == pytest.approx(1.0, abs=1e-5)


def test_the_reference_is_the_variance_or_the_entropy(rng: np.random.Generator) -> None:
    raw = labels_of(NORMALS, 9, rng) * torch.tensor([1.0, 2, 3])[:, None, None]
    truth = examples.arrange_answers(NORMALS, raw)
    found = examples.compute_reference(NORMALS, truth, examples.compute_priors(NORMALS, truth))
    expected = raw[..., ::2, ::2].double().var((0, 2, 3), correction=0) * 9 * 32 * 32
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    classes = torch.tensor([0, 0, 1, 6])
    shares = (np.bincount(classes, minlength=7) + 1) / (4 + 7)
    surprise = examples.compute_reference(OBJECT, classes, examples.compute_priors(OBJECT, classes))
    assert surprise.item() == pytest.approx(-np.log(shares[classes.numpy()]).sum(), rel=1e-5)


def patches(features: torch.Tensor) -> torch.Tensor:
    """An image that is a source's first channel, each position 8 × 8 times."""
    return features[:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3)


@pytest.mark.parametrize(("way", "most"), [("linear", 1e-3), ("trained", 0.1)])
def test_a_source_that_holds_the_target_loses_nothing(way: sampling.Readout, most: float, rng: np.random.Generator) -> None:
    few, test = features(120, rng), features(60, rng)
    told, asked = (examples.arrange_answers(DEPTH, patches(values)) for values in (few, test))
    nothing = [examples.arrange_answers(NORMALS, labels_of(NORMALS, n, rng)) for n in (120, 60)]
    settings = Settings(readout=way)
    found = transfers.measure_losses(settings, [DEPTH, NORMALS], (few, [told, nothing[0]]), (test, [asked, nothing[1]]), seed=1)
    assert 0 <= found[0] < most
    assert found[1] == pytest.approx(1.0, abs=0.03)


def test_a_trained_readout_finds_what_is_not_linear(rng: np.random.Generator) -> None:
    few, test = features(150, rng, 4), features(60, rng, 4)
    truths = [[examples.arrange_answers(DEPTH, patches(values.abs()))] for values in (few, test)]
    loss = {
        way: transfers.measure_losses(Settings(readout=way), [DEPTH], (few, truths[0]), (test, truths[1]), 0)
        for way in ("linear", "trained")
    }
    assert loss["linear"] > 0.9
    assert loss["trained"] < 0.3


def test_classes_of_pixels_are_learnt(rng: np.random.Generator) -> None:
    few, test = features(120, rng), features(60, rng)
    truths = [[examples.arrange_answers(SEMANTIC, (patches(values)[:, 0] > 0).long() * 5)] for values in (few, test)]
    assert transfers.measure_losses(Settings(), [SEMANTIC], (few, truths[0]), (test, truths[1]), 0)[0] < 0.5


def test_targets_share_nothing(rng: np.random.Generator) -> None:
    tasks, x = [DEPTH, NORMALS, SEMANTIC], examples.gather_neighbourhoods(features(40, rng))
    truths = [examples.arrange_answers(task, labels_of(task, 40, rng)) for task in tasks]
    together = readout.train(tasks, x, truths, Budget(steps=6, looks=2), 3)
    for place, (task, truth) in enumerate(zip(tasks, truths, strict=True)):
        alone = readout.train([task], x, [truth], Budget(steps=6, looks=2), 3)
        hidden = slice(place * readout.HIDDEN, (place + 1) * readout.HIDDEN)
        torch.testing.assert_close(together.first[:, hidden], alone.first, rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_numbers(rng: np.random.Generator) -> None:
    few, test = features(40, rng), features(20, rng)
    truths = [[examples.arrange_answers(DEPTH, patches(values))] for values in (few, test)]
    settings = Settings(budget=Budget(steps=10))
    once, again, other = (
        transfers.measure_losses(settings, [DEPTH], (few, truths[0]), (test, truths[1]), seed) for seed in (1, 1, 2)
    )
    assert once.tolist() == again.tolist() != other.tolist()


def test_only_wanted_targets_take_the_others_weights() -> None:
    tasks = [DEPTH, NORMALS, SEMANTIC]
    said = [torch.zeros(task.channels) for task in tasks]
    one, other = (readout.Readouts(tasks, 32, said, seed) for seed in (0, 1))
    for weight in other.second:
        weight.data += 1.0
    before = one.first.clone()
    one.take(other, torch.tensor([False, True, True]))
    assert torch.equal(one.first[:, :32], before[:, :32])
    assert torch.equal(one.first[:, 32:], other.first[:, 32:])
    assert one.second[0][:, :16].abs().sum() == 0
    assert bool((one.second[0][:, 16:] == 1).all() and (one.second[1] == 1).all())


def test_ridge_of_moments_is_that_of_scikit_learn(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 64, 7)), rng.standard_normal((5, 64, 3))
    x[..., 6] = 1.0
    known = ridge.Moments.of(torch.from_numpy(x), torch.from_numpy(y))
    rows, outputs = x.reshape(-1, 7), y.reshape(-1, 3)
    scale = np.linalg.eigvalsh(np.cov(rows.T, bias=True) * len(rows)).clip(0).mean()
    for penalty, weights in zip(ridge.PENALTIES, ridge.fit_penalties(known, 6), strict=True):
        model = Ridge(penalty * scale).fit(rows[:, :6], outputs)
        np.testing.assert_allclose(weights[:6], model.coef_.T, atol=1e-8)
        np.testing.assert_allclose(weights[6], model.intercept_, atol=1e-8)
        np.testing.assert_allclose(known.errors(weights), np.square(model.predict(rows[:, :6]) - outputs).sum(0), rtol=1e-6)


def test_ridge_of_whole_images_is_that_of_scikit_learn(rng: np.random.Generator) -> None:
    x, y, outside = rng.standard_normal((20, 50)), rng.standard_normal((20, 2)), rng.standard_normal((6, 50))
    centred = x - x.mean(0)
    scale = np.linalg.eigvalsh(centred @ centred.T).mean()
    for penalty, found in zip(
        whole_image.PENALTIES, whole_image.predict_numbers(*map(torch.from_numpy, (x, y, outside))), strict=True
    ):
        np.testing.assert_allclose(found, Ridge(penalty * scale).fit(x, y).predict(outside), atol=1e-8)


def test_whole_images_are_learnt_where_there_is_something_to_learn(rng: np.random.Generator) -> None:
    few, test = features(300, rng), features(100, rng)
    numbers = [values[:, :8, 2, 3].clone() for values in (few, test)]
    assert whole_image.measure_loss(LAYOUT, (few, numbers[0]), (test, numbers[1])) < 0.9
    classes = [values[:, :7, :4, :4].mean((2, 3)).argmax(1) for values in (few, test)]
    assert whole_image.measure_loss(OBJECT, (few, classes[0]), (test, classes[1])) < 0.6
    for task in (LAYOUT, OBJECT):
        assert 0.95 < whole_image.measure_loss(task, (few, labels_of(task, 300, rng)), (test, labels_of(task, 100, rng))) < 1.1


def test_a_class_without_a_label_keeps_a_chance(rng: np.random.Generator) -> None:
    found = whole_image.predict_probabilities(
        rng.standard_normal((8, 3)), np.array([0, 1] * 4), rng.standard_normal((5, 3)), 0.1, 4
    )
    np.testing.assert_allclose(found.sum(1), 1.0)
    assert found[:, 2:].min() > 0.05
