"""Iterative prediction of masked tokens, most confident first (MaskGIT, Chang et al. 2022)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Codes = NDArray[np.int64]

HIDDEN = -1
"""Marks a masked token."""

Logits = Callable[[Codes], F32]
"""Maps tokens (K, N), with `HIDDEN` for masked ones, to logits (K, N, codes)."""


@dataclass(frozen=True)
class Filling:
    """Settings of the sampling of tokens.

    Attributes:
        rounds: passes of the network, 1 to 12.
        temperature: of the sampling; below 1, likely codes are preferred.
        doubt: scale of the noise on the confidence, which decays to 0 over the rounds; without it,
            all samples fill in the same positions first.
    """

    rounds: int = 10
    temperature: float = 1.0
    doubt: float = 2.0


def fill(tokens: Codes, logits: Logits, filling: Filling, rng: np.random.Generator) -> Codes:
    """Replace every `HIDDEN` token of ``tokens`` (K, N); the others are kept (in-painting).

    Each round samples all masked tokens and keeps the most confident ones; their number follows a
    cosine schedule.
    """
    tokens = np.array(tokens, dtype=np.int64)
    hidden_at_first = (tokens == HIDDEN).sum(axis=1)
    for turn in range(filling.rounds):
        hidden = tokens == HIDDEN
        if not hidden.any():
            break
        done = (turn + 1) / filling.rounds
        score = _log_softmax(logits(tokens) / np.float32(filling.temperature))
        drawn = np.argmax(score + rng.gumbel(size=score.shape), axis=-1)
        sure = np.take_along_axis(score, drawn[..., None], axis=-1)[..., 0].astype(np.float64)
        sure += filling.doubt * (1.0 - done) * rng.gumbel(size=sure.shape)
        sure[~hidden] = -np.inf
        left = np.floor(hidden_at_first * math.cos(0.5 * math.pi * done)).astype(np.int64)
        keep = np.maximum(hidden.sum(axis=1) - left, 1)
        rank = np.argsort(np.argsort(-sure, axis=1), axis=1)
        chosen = hidden & (rank < keep[:, None])
        tokens[chosen] = drawn[chosen]
    return tokens


def _log_softmax(logits: F32) -> F32:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(
        shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32
    )
