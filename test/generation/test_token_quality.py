"""Measures of generated motion."""

import numpy as np
import pytest

from hpstm_ros.train.generated import seeds_row
from hpstm_ros.train.token_quality import Judged, diversity, frechet, r_precision
from hpstm_ros.train.unlearning_eval import Sample, filtered, violence_rows
from pallas_ros.imu.motions import demo_motion


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


def test_a_figure_over_seeds_shows_its_range() -> None:
    row = seeds_row("flow", "safe", "violent_percent", [2.0, 4.0, 9.0], "%")
    assert (row["low"], row["value"], row["high"]) == (2.0, 5.0, 9.0)
    assert "low" not in seeds_row("real", "safe", "diversity", [1.0], "")


def test_a_word_filter_rejects_only_violent_words() -> None:
    motion = demo_motion(duration=0.5)
    asked = [
        Sample(kind, text, seed, motion, score=0.99)
        for kind, text in (("worded", "punch someone"), ("innocent", "left lunges"))
        for seed in (0, 1)
    ]
    rows = violence_rows("word_filter", filtered(asked), 0.9)
    shares = {r["case"]: r["value"] for r in rows if r["metric"] == "violent_percent"}
    assert (shares["worded"], shares["innocent"]) == (0.0, 100.0)
    before = violence_rows("before", asked, 0.9)
    assert before[0]["value"] == before[0]["low"] == 100.0
