"""Unlearning without training: replaces codes of a codebook, or removes directions from weights.

Latent code replacement (LCR) is Algorithm 1 of De Matteis et al., "Human Motion Unlearning": a code
that is far more frequent in the forget set than in the retain set is overwritten with a safe one.
Low-rank refusal follows Facchiano et al., "Video Unlearning via Low-Rank Refusal Vector": the
directions along which a concept moves a layer's activations are projected out of its weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]
Codes = NDArray[np.int64]

NOISE = 0.01
"""Noise on a replaced code, relative to the standard deviation of the codebook's entries."""


@dataclass(frozen=True)
class Replacement:
    """Result of latent code replacement.

    Attributes:
        codebook: (K, D), the new codebook.
        replaced: (r,) codes that were overwritten, highest ratio first.
        ratio: (r,) their ratios N_k(forget) / N_k(retain).
        safe: the code by which they were replaced.
    """

    codebook: F64
    replaced: Codes
    ratio: F64
    safe: int


def motions_with_code(motions: Iterable[NDArray[np.integer]], codes: int) -> Codes:
    """N_k of Algorithm 1, line 3: (K,) number of motions in which each code occurs.

    Args:
        motions: the codes (N,) of each motion, from 0 to ``codes`` - 1.
        codes: K, entries of the codebook.

    Raises:
        PallasError: a code is outside the codebook.
    """
    counts = np.zeros(codes, dtype=np.int64)
    for motion in motions:
        present = np.unique(motion)
        if len(present) and not 0 <= present[0] <= present[-1] < codes:
            raise PallasError(
                f"a motion contains code {present[-1]}, but the codebook has {codes} entries: use"
                " the codebook of the model that encoded the motion"
            )
        counts[present] += 1
    return counts


def code_ratios(forget: Codes, retain: Codes) -> F64:
    """s_k of Algorithm 1, line 5: (K,) N_k(forget) / N_k(retain).

    The ratio of a code that does not occur in the retain set is infinite if it occurs in the forget
    set, otherwise 0.
    """
    ratio = np.where(forget > 0, np.inf, 0.0)
    np.divide(forget, retain, out=ratio, where=retain > 0)
    return ratio


def check_replacement(r: int, size: int) -> None:
    """Check that ``r`` codes can be replaced in a codebook of ``size`` entries.

    Raises:
        PallasError: none is replaced, or none is left.
    """
    if not 1 <= r < size:
        raise PallasError(
            f"{r} codes cannot be replaced in a codebook of {size}: give a number from 1 to"
            f" {size - 1}"
        )


def replace_codes(
    codebook: F64,
    forget: Codes,
    retain: Codes,
    r: int,
    rng: np.random.Generator,
    noise: float = NOISE,
) -> Replacement:
    """Algorithm 1: overwrite the ``r`` codes of highest ratio with one safe code plus noise.

    Args:
        codebook: (K, D).
        forget, retain: (K,) from `motions_with_code`.
        r: codes to replace, 1 to K - 1.
        rng: draws the safe code and the noise.
        noise: standard deviation, relative to that of the codebook's entries.

    Equal ratios are ordered by N_k(forget). The safe code is drawn from the others in proportion to
    N_k(retain), so that it occurs in safe motion; Algorithm 1 does not specify the distribution.

    Raises:
        PallasError: ``r`` leaves no code, or the counts belong to another codebook.
    """
    size = len(codebook)
    check_replacement(r, size)
    if forget.shape != (size,) or retain.shape != (size,):
        raise PallasError(
            f"the motions were counted with {len(forget)} codes, but the codebook has {size}: use"
            " the codebook of the model that encoded them"
        )
    ratio = code_ratios(forget, retain)
    order = np.lexsort((-forget, -ratio))
    replaced = order[:r]
    weight = retain.astype(np.float64)
    weight[replaced] = 0.0
    if not weight.any():
        raise PallasError(
            f"after {r} codes are replaced, none of the codes used by the motion to retain is"
            " left: replace fewer"
        )
    safe = int(rng.choice(size, p=weight / weight.sum()))
    out = np.array(codebook, dtype=np.float64)
    spread = noise * float(out.std())
    out[replaced] = out[safe] + spread * rng.standard_normal((r, out.shape[1]))
    return Replacement(out, replaced, ratio[replaced], safe)


def refusal_directions(with_concept: F64, without: F64, rank: int) -> F64:
    """Orthonormal directions (rank, D) along which a concept moves activations.

    Args:
        with_concept, without: (N, D) activations of N pairs of requests.
        rank: directions to find, 1 to min(N, D).

    These are the leading right singular vectors of the differences. The differences are not
    centred, because their mean is part of the concept.

    Raises:
        PallasError: the pairs do not match, or are too few or too alike for ``rank`` directions.
    """
    if with_concept.shape != without.shape or with_concept.ndim != 2:
        raise PallasError(
            f"activations of shapes {with_concept.shape} and {without.shape} are not pairs: give"
            " equal numbers of requests with and without the concept"
        )
    if not 1 <= rank <= min(with_concept.shape):
        raise PallasError(
            f"{rank} directions cannot be found from {len(with_concept)} pairs of "
            f"{with_concept.shape[1]} values: give 1 to {min(with_concept.shape)}"
        )
    difference = with_concept - without
    _, strength, directions = np.linalg.svd(difference, full_matrices=False)
    if not strength[rank - 1] > 1e-9 * max(float(np.abs(with_concept).max()), 1e-12):
        raise PallasError(
            f"the pairs differ in fewer than {rank} directions: give more pairs, or a lower rank"
        )
    return np.asarray(directions[:rank])


def without_directions(
    weight: F64, bias: F64 | None, directions: F64, centre: F64 | None = None
) -> tuple[F64, F64 | None]:
    """Weight (D, inputs) and bias (D,) of a linear layer whose output is constant along directions.

    Args:
        weight, bias: (D, inputs) and (D,) of the layer y = weight x + bias.
        directions: (rank, D), orthonormal.
        centre: (D,) output whose component along the directions is used for all inputs; zero by
            default. The mean output without the concept changes other requests least.
    """
    kept = np.eye(weight.shape[0]) - directions.T @ directions
    shift = None if bias is None else kept @ bias
    if centre is not None:
        shift = directions.T @ (directions @ centre) + (0.0 if shift is None else shift)
    return kept @ weight, shift
