"""Measures of generated motion."""

import numpy as np
import pytest

from hpstm_ros.train.token_quality import Judged, diversity, frechet, r_precision


def _set(seed: int, n: int = 200, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim))


def test_motion_that_fits_its_text_is_found() -> None:
    texts = np.eye(40)
    keys = tuple(str(k) for k in range(40))
    rng = np.random.default_rng(0)
    assert r_precision(Judged(texts, texts, keys), rng).mean() == 1.0
    chance = [
        r_precision(Judged(_set(s, 40, 40), texts, keys), np.random.default_rng(s)).mean()
        for s in range(20)
    ]
    assert np.mean(chance) == pytest.approx(3 / 32, abs=0.03)


def test_texts_of_equal_meaning_do_not_compete() -> None:
    texts = np.ones((10, 2))
    hits = r_precision(Judged(texts, texts, ("same",) * 10), np.random.default_rng(0))
    assert hits.all()


def test_frechet_distance_of_gaussians() -> None:
    a = _set(0, 4000)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a, a + [2, 0, 0, 0, 0, 0]) == pytest.approx(4, rel=0.01)
    assert frechet(a, 3 * _set(1, 4000)) == pytest.approx(6 * (3 - 1) ** 2, rel=0.1)


def test_diversity_grows_with_spread() -> None:
    a = _set(0)
    one, two = (diversity(k * a, np.random.default_rng(1)) for k in (1, 2))
    assert two == pytest.approx(2 * one)
