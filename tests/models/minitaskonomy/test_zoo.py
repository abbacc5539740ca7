"""Features of any encoder on the grid."""

from __future__ import annotations

import numpy as np

from models.minitaskonomy.zoo import arrange_on_grid


def test_any_encoder_has_a_grid(rng: np.random.Generator) -> None:
    first = rng.standard_normal((2, 5, 8, 8)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(first, 1, -1))
    tokens = np.concatenate([rng.standard_normal((2, 1, 5)).astype(np.float32), last.reshape(2, 64, 5)], axis=1)
    for form in (first, last, tokens, tokens[:, 1:]):
        np.testing.assert_array_equal(arrange_on_grid(form), first)
    assert arrange_on_grid(first[:, :, :4, :4])[0, 0, 7, 7] == first[0, 0, 3, 3]
    np.testing.assert_array_equal(arrange_on_grid(first[:, :, 0, 0])[:, :, 3, 3], first[:, :, 0, 0])
