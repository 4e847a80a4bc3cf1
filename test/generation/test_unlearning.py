"""Latent code replacement (Algorithm 1) and low-rank refusal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpstm_ros.generation.unlearning import (
    code_ratios,
    motions_with_code,
    refusal_directions,
    replace_codes,
    without_directions,
)
from pallas_ros.body.errors import PallasError


def _sets(seed: int, codes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = [rng.integers(0, codes, rng.integers(1, 30)) for _ in range(20)]
    return motions_with_code(draw[:6], codes), motions_with_code(draw[6:], codes)


def test_a_motion_counts_once_for_a_code() -> None:
    counts = motions_with_code([np.array([1, 1, 1, 3]), np.array([3])], 5)
    assert counts.tolist() == [0, 1, 0, 2, 0]


def test_ratio_of_codes_that_only_one_set_uses() -> None:
    ratio = code_ratios(np.array([2, 0, 1, 0]), np.array([0, 3, 4, 0]))
    assert ratio.tolist() == [np.inf, 0.0, 0.25, 0.0]


def test_the_worked_example_of_algorithm_1() -> None:
    codebook = np.arange(12.0).reshape(4, 3)
    forget = motions_with_code([np.array([0, 1]), np.array([1, 2])], 4)
    retain = motions_with_code([np.array([0, 3]), np.array([0, 2, 3]), np.array([1, 2])], 4)
    done = replace_codes(codebook, forget, retain, 1, np.random.default_rng(0), noise=0.0)
    assert done.replaced.tolist() == [1]  # ratios 1/2, 2/1, 1/2, 0
    assert done.safe in (0, 2, 3)
    assert np.array_equal(done.codebook[1], codebook[done.safe])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.data())
def test_replacement_keeps_every_other_code(seed: int, codes: int, data: st.DataObject) -> None:
    forget, retain = _sets(seed, codes)
    r = data.draw(st.integers(1, codes // 2))
    codebook = np.random.default_rng(seed).standard_normal((codes, 6))
    done = replace_codes(codebook, forget, retain, r, np.random.default_rng(seed))
    kept = np.setdiff1d(np.arange(codes), done.replaced)
    assert len(done.replaced) == len(set(done.replaced.tolist())) == r
    assert np.array_equal(done.codebook[kept], codebook[kept])
    assert done.safe in kept
    assert retain[done.safe] > 0
    ratio = code_ratios(forget, retain)
    assert ratio[done.replaced].min() >= ratio[kept].max()
    away = np.abs(done.codebook[done.replaced] - codebook[done.safe]).max()
    assert away < 6 * 0.01 * codebook.std()


@pytest.mark.parametrize("r", [0, 8, 9])
def test_too_many_codes_are_refused(r: int) -> None:
    forget, retain = _sets(1, 8)
    with pytest.raises(PallasError, match="from 1 to 7"):
        replace_codes(np.zeros((8, 2)), forget, retain, r, np.random.default_rng(0))


def test_a_codebook_of_another_model_is_refused() -> None:
    forget, retain = _sets(1, 8)
    with pytest.raises(PallasError, match="use the codebook of the model"):
        replace_codes(np.zeros((9, 2)), forget, retain, 2, np.random.default_rng(0))
    with pytest.raises(PallasError, match="code 8"):
        motions_with_code([np.array([8])], 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_refusal_removes_the_concept_and_nothing_else(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((12, 12)))[0].T
    concept = basis[:rank]
    other = basis[rank:]
    neutral = rng.standard_normal((9, 12))
    moved = neutral + (1 + rng.random((9, rank))) * rng.choice([-1, 1], (9, rank)) @ concept
    found = refusal_directions(moved, neutral, rank)
    np.testing.assert_allclose(found @ found.T, np.eye(rank), atol=1e-9)
    np.testing.assert_allclose(found @ other.T, 0, atol=1e-8)
    weight = rng.standard_normal((12, 5))
    bias = rng.standard_normal(12)
    edited, shift = without_directions(weight, bias, found)
    assert shift is not None
    x = rng.standard_normal(5)
    y = edited @ x + shift
    before = weight @ x + bias
    np.testing.assert_allclose(concept @ y, 0, atol=1e-8)
    np.testing.assert_allclose(other @ y, other @ before, atol=1e-8)
    again, _ = without_directions(edited, shift, found)
    np.testing.assert_allclose(again, edited, atol=1e-9)


def test_pairs_that_say_the_same_are_refused() -> None:
    same = np.ones((4, 6))
    with pytest.raises(PallasError, match="fewer than 1 directions"):
        refusal_directions(same, same, 1)
    with pytest.raises(PallasError, match="not pairs"):
        refusal_directions(same, same[:3], 1)
    with pytest.raises(PallasError, match="give 1 to 4"):
        refusal_directions(same, same, 5)


def test_removed_components_become_those_of_the_centre() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 4))
    bias = rng.standard_normal(6)
    directions = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    centre = rng.standard_normal(6)
    new, shift = without_directions(weight, bias, directions, centre)
    assert shift is not None
    x = rng.standard_normal((5, 4))
    before = x @ weight.T + bias
    after = x @ new.T + shift
    assert np.allclose(after @ directions.T, directions @ centre)
    rest = np.eye(6) - directions.T @ directions
    assert np.allclose(after @ rest, before @ rest)
