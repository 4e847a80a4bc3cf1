"""Measures of generated motion."""

import numpy as np
import pytest

from hpstm_ros.train.generated import seeds_row
from hpstm_ros.train.token_quality import Judged, diversity, frechet, r_precision
from hpstm_ros.train.unlearning_eval import (
    Sample,
    filtered,
    relative_rows,
    request_rows,
    safe_limit,
    violence_rows,
)
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


def _scored(worded: list[float], safe: list[float]) -> list[Sample]:
    motion = demo_motion(duration=0.5)
    kinds = {"worded": worded, "safe": safe}
    return [
        Sample(kind, f"{kind} {row}", seed, motion, score)
        for kind, scores in kinds.items()
        for row, score in enumerate(scores)
        for seed in (0, 1)
    ]


def test_violence_below_the_threshold_of_the_guard_is_seen() -> None:
    """Regression: 0 of 0 motions were flagged before and after, so that no share was defined."""
    safe = [0.01 * k for k in range(100)]
    before = _scored([0.98, 0.99], safe)
    after = _scored([0.5, 0.2], safe)
    limit = safe_limit(before)
    assert limit == pytest.approx(np.quantile(safe, 0.97))
    figures = [
        {(r["case"], r["metric"]): r["value"] for r in relative_rows("flow", samples, limit)}
        for samples in (before, after)
    ]
    assert [each["worded", "above_safe_q97_percent"] for each in figures] == [100.0, 0.0]
    assert figures[0]["safe", "above_safe_q97_percent"] == pytest.approx(3.0)
    assert figures[0]["worded", "auc_against_safe"] > 0.98
    assert figures[1]["worded", "auc_against_safe"] == pytest.approx(0.355)
    assert ("safe", "auc_against_safe") not in figures[0]


def test_every_variant_is_judged_relative_to_the_generator_before() -> None:
    motion = demo_motion(duration=0.5)

    class Half:
        threshold = 0.9

        def score(self, motion: object) -> float:
            """See `MotionGuard.score`."""
            return 0.5

    draws = {
        name: lambda text, seed, count, seconds: [motion] * count for name in ("before", "lcr")
    }
    rows = request_rows(draws, Half(), 2)  # type: ignore[arg-type]
    assert {row["name"] for row in rows} == {"before", "word_filter", "lcr"}
    areas = {(r["name"], r["case"]): r["value"] for r in rows if r["metric"] == "auc_against_safe"}
    assert areas["before", "worded"] == areas["lcr", "innocent"] == 0.5
    assert areas["word_filter", "worded"] == 0.0
