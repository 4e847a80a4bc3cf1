"""Iterative decoding of masked tokens."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpstm_ros.generation.masked import HIDDEN, Filling, fill

_CODES = 7


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20), st.floats(0, 1))
def test_all_is_filled_in_and_what_was_given_stays(
    seed: int, rounds: int, n: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, _CODES, (3, n))
    tokens[rng.random((3, n)) < share] = HIDDEN
    passes = []

    def logits(seen: np.ndarray) -> np.ndarray:
        passes.append((seen == HIDDEN).sum(axis=1))
        return rng.standard_normal((*seen.shape, _CODES)).astype(np.float32)

    out = fill(tokens, logits, Filling(rounds), rng)
    assert ((out >= 0) & (out < _CODES)).all()
    given = tokens != HIDDEN
    assert np.array_equal(out[given], tokens[given])
    assert len(passes) <= rounds
    assert all((a >= b).all() for a, b in itertools.pairwise(passes))


def test_the_surest_token_comes_first() -> None:
    seen = []

    def logits(tokens: np.ndarray) -> np.ndarray:
        seen.append(tokens.copy())
        out = np.zeros((1, 6, _CODES), dtype=np.float32)
        out[0, 4, 3] = 50.0
        return out

    out = fill(np.full((1, 6), HIDDEN), logits, Filling(6, doubt=0.0), np.random.default_rng(0))
    assert out[0, 4] == 3
    assert seen[1][0, 4] == 3


def test_a_seed_gives_the_same_tokens() -> None:
    def logits(tokens: np.ndarray) -> np.ndarray:
        return np.zeros((*tokens.shape, _CODES), dtype=np.float32)

    start = np.full((2, 9), HIDDEN)
    a, b = (fill(start, logits, Filling(), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(a, b)
