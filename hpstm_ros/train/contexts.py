"""Random contexts for training: text, observed joints, hand targets, each dropped at random."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.generation.representation import FRAMES
from hpstm_ros.generation.text import TEXT, text_vectors
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.features import mirror
from hpstm_ros.model.hpstm_gen import Context, HpstmGen
from hpstm_ros.train.windows import Window
from pallas_ros.body.motion import save_npz
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.library import LibraryClip
from pallas_ros.files.npz import load_npz

J = len(JOINTS)
WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
NOISE_UNIT_M = 0.03
_PHRASINGS = 4
"""Maximum number of phrasings per description; more are redundant, and take minutes to encode."""
_TURN_PER_M = 3.0
"""Noise of r6d per metre of position noise: 30 mm correspond to about 5 degrees."""


@dataclass(frozen=True)
class ContextShares:
    """Probabilities of the parts of a context; those of the patterns of observed joints sum to at
    most 1.
    """

    text: float = 0.8
    """Share of described windows with their text; the others train unconditional motion."""
    past: float = 0.35
    gap: float = 0.15
    limb: float = 0.15
    scattered: float = 0.1
    noisy: float = 0.5
    """Share of windows whose observed joints are noisy."""
    hands: float = 0.25


class Captions:
    """Text vectors of the descriptions of all clips, and of their mirror images.

    Args:
        clips: described clips.
        descriptions: of the data folder.
        cache: file in which the vectors are stored, since encoding takes minutes.
    """

    def __init__(
        self, clips: Sequence[LibraryClip], descriptions: Descriptions, cache: Path | None = None
    ) -> None:
        texts: dict[str, int] = {}
        self._of: dict[tuple[str, bool], list[int]] = {}
        for clip in clips:
            said = [p for d in descriptions.of(clip) for p in (*d.phrasings[:_PHRASINGS], d.first)]
            for mirrored in (False, True):
                chosen = [mirror(s) if mirrored else s for s in said]
                rows = [texts.setdefault(s, len(texts)) for s in chosen]
                self._of[clip.name, mirrored] = rows
        self.texts = list(texts)
        self.vectors = self._vectors(cache)

    def _vectors(self, cache: Path | None) -> NDArray[np.float32]:
        if not self.texts:
            return np.zeros((0, TEXT), np.float32)
        key = hashlib.sha256("\n".join(self.texts).encode()).hexdigest()
        if cache and cache.is_file():
            kept = load_npz(cache, "cache of text vectors")
            if str(kept.get("key")) == key:
                return np.asarray(kept["vectors"], np.float32)
        vectors = text_vectors(self.texts)
        if cache:
            save_npz(cache, {"key": np.array(key), "vectors": vectors})
        return vectors

    def rows(self, window: Window) -> list[int]:
        """The descriptions of the clip of a window, as rows of `vectors`; may be empty."""
        return self._of.get((window.clip.name, window.mirrored), [])

    def draw(
        self, rng: np.random.Generator, windows: Sequence[Window], share: float
    ) -> NDArray[np.float32]:
        """One text vector per window (B, TEXT), zero if dropped or missing."""
        out = np.zeros((len(windows), TEXT), dtype=np.float32)
        for row, window in enumerate(windows):
            known = self.rows(window)
            if known and rng.random() < share:
                out[row] = self.vectors[known[rng.integers(len(known))]]
        return out


LIMBS: tuple[tuple[int, ...], ...] = tuple(
    tuple(JOINT_INDEX[n] for n in names)
    for names in (
        ("left_shoulder", "left_elbow", "left_wrist"),
        ("right_shoulder", "right_elbow", "right_wrist"),
        ("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        ("left_hip", "left_knee", "left_ankle", "left_foot"),
        ("right_hip", "right_knee", "right_ankle", "right_foot"),
        ("left_hip", "left_knee", "left_ankle", "left_foot",
         "right_hip", "right_knee", "right_ankle", "right_foot"),
        ("spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar"),
    )
)  # fmt: skip


def seen_pattern(rng: np.random.Generator, shares: ContextShares) -> NDArray[np.float32]:
    """Random mask (120, 22), 1 for observed joints."""
    seen = np.zeros((FRAMES, J), dtype=np.float32)
    draw = rng.random()
    if draw < shares.past:
        seen[: 30 if rng.random() < 0.6 else int(rng.integers(1, 90))] = 1
    elif draw < shares.past + shares.gap:
        length = int(rng.integers(8, 76))
        start = int(rng.integers(1, FRAMES - length))
        seen[:] = 1
        seen[start : start + length] = 0
        if rng.random() < 0.5:  # only a part around the gap is observed
            known = int(rng.integers(4, 40))
            seen[: max(start - known, 0)] = 0
            seen[start + length + known :] = 0
    elif draw < shares.past + shares.gap + shares.limb:
        seen[:] = 1
        span = slice(None)
        if rng.random() < 0.6:
            length = int(rng.integers(15, 100))
            start = int(rng.integers(0, FRAMES - length + 1))
            span = slice(start, start + length)
        for limb in rng.choice(len(LIMBS), int(rng.integers(1, 3)), replace=False):
            seen[span, list(LIMBS[limb])] = 0
    elif draw < shares.past + shares.gap + shares.limb + shares.scattered:
        if rng.random() < 0.5:
            seen[:] = rng.random((FRAMES, J)) < rng.uniform(0.05, 1.0)
        else:
            seen[rng.random(FRAMES) < rng.uniform(0.02, 0.3)] = 1
    return seen


def hand_targets(
    rng: np.random.Generator,
    positions: NDArray[np.float32],
    frames: NDArray[np.int64],
    share: float,
) -> NDArray[np.float32]:
    """Random hand targets (B, 120, 8): wrists at some of the first ``frames`` (B,), from positions
    (B, 120, 22, 3) m.
    """
    hands = np.zeros((len(positions), FRAMES, 8), dtype=np.float32)
    for row in np.flatnonzero(rng.random(len(positions)) < share):
        for side in np.flatnonzero(rng.random(2) < 0.6):
            at = rng.integers(0, frames[row], int(rng.integers(1, 4)))
            hands[row, at, 4 * side : 4 * side + 3] = positions[row, at, WRISTS[side]]
            hands[row, at, 4 * side + 3] = 1
    return hands


def draw_context(
    rng: np.random.Generator,
    model: HpstmGen,
    state: Tensor,
    valid: NDArray[np.bool_],
    text: NDArray[np.float32],
    shares: ContextShares,
) -> Context:
    """A random context for standardised states (B, 120, 200), with mask ``valid`` (B, 120)."""
    batch = len(state)
    seen = np.stack([seen_pattern(rng, shares) for _ in range(batch)]) * valid[..., None]
    sigma = NOISE_UNIT_M * rng.random((batch, 1)) * (rng.random((batch, 1)) < shares.noisy)
    positions = model.positions(state).numpy()
    hands = hand_targets(rng, positions, valid.sum(1), shares.hands)
    unit = torch.ones(state.shape[-1])
    unit[66:] = _TURN_PER_M
    unit[-2:] = 0.0
    wobble = torch.from_numpy(rng.standard_normal(state.shape, dtype=np.float32))
    level = torch.from_numpy(sigma.astype(np.float32))
    observed = state + wobble * level[:, None] * unit / model.scale
    return Context(
        torch.from_numpy(text),
        observed,
        torch.from_numpy(seen),
        level / NOISE_UNIT_M,
        torch.from_numpy(hands),
    )
