"""Training data of the length-aware generator: whole clips, and parts of long ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.generation.text import text_vectors
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.features import mirror
from hpstm_ros.model.latent import LatentConfig, LatentModel
from hpstm_ros.train.heading_windows import Clips
from pallas_ros.data.library import LibraryClip

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SHORTEST = 30
"""Frames of the shortest motion: 1 s."""
_PART_FRAMES = 180
"""Frames of a long clip per part; parts overlap, but not all of them."""
_NEIGHBOURS = 8
"""Number of batches of spans with similar lengths from which one batch is drawn."""
_ENCODED_TOGETHER = 32
_WITHOUT_TEXT = 0.1


@dataclass(frozen=True)
class Spans:
    """Parts of clips, shortest first.

    Attributes:
        clip: (N,) index of the clip.
        start: (N,) first frame.
        frames: (N,) number of frames.
        whole: (N,) whether the part is the whole clip.
        weight: (N,) sampling weight, not normalised.
    """

    clip: I64
    start: I64
    frames: I64
    whole: NDArray[np.bool_]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.clip)

    def batch(self, count: int, rng: np.random.Generator) -> I64:
        """Random indices (count,) of spans with similar lengths."""
        anchor = int(rng.choice(len(self), p=self.weight / self.weight.sum()))
        first = max(anchor - _NEIGHBOURS * count // 2, 0)
        near = np.arange(first, min(first + _NEIGHBOURS * count, len(self)))
        chance = self.weight[near] / self.weight[near].sum()
        return np.asarray(rng.choice(near, count, p=chance), dtype=np.int64)


def spans(clips: Clips, packs: dict[str, str], longest: int, share: float, seed: int) -> Spans:
    """Spans of 1 s to ``longest`` frames.

    Args:
        clips: to take them from.
        packs: pack of each clip, by name.
        longest: frames.
        share: maximum share of `bandai_namco` in the samples, since its many clips are similar.
        seed: of the parts.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, bool]] = []
    for index, length in enumerate(clips.length.tolist()):
        if SHORTEST <= length <= longest:
            rows.append((index, 0, length, True))
        if length < 3 * SHORTEST:
            continue
        for _ in range(-(-length // _PART_FRAMES)):
            frames = int(rng.integers(SHORTEST, min(length, longest) + 1))
            rows.append((index, int(rng.integers(length - frames + 1)), frames, False))
    rows.sort(key=lambda row: row[2])
    table = np.array(rows, dtype=np.int64)
    clip = table[:, 0]
    is_whole = table[:, 3].astype(np.bool_)
    weight = np.where(is_whole, 2.0, 1.0)
    many = np.array([packs[clips.names[i]] == "bandai_namco" for i in clip])
    if many.any() and not many.all():
        taken = weight[many].sum() / weight.sum()
        if taken > share:
            weight[many] *= share / (1 - share) * weight[~many].sum() / weight[many].sum()
    return Spans(clip, table[:, 1], table[:, 2], is_whole, weight)


def cut(clips: Clips, found: Spans, rows: I64, flip: I64, patch: int) -> tuple[Tensor, Tensor]:
    """Frames (B, T, 138) of spans, padded with the last frame to whole patches of the longest, and
    lengths (B, 1).

    The displacement and the heading change of the first frame are zero, as in
    `heading_frames.encode`.
    """
    lengths = found.frames[rows]
    most = -(-int(lengths.max()) // patch) * patch
    at = np.minimum(np.arange(most), lengths[:, None] - 1)
    begin = clips.start[found.clip[rows]] + found.start[rows]
    frames = np.array(clips.frames[flip[:, None], begin[:, None] + at])
    frames[:, 0, :3] = 0.0
    return torch.from_numpy(frames), torch.from_numpy(lengths.astype(np.float32))[:, None]


class SpanBatches(Iterator[tuple[Tensor, Tensor]]):
    """Infinite iterator of batches for the VAE; all random numbers come from ``generator``."""

    def __init__(
        self, clips: Clips, found: Spans, batch: int, patch: int, generator: torch.Generator
    ) -> None:
        self._clips = clips
        self._spans = found
        self._batch = batch
        self._patch = patch
        self._generator = generator

    def __next__(self) -> tuple[Tensor, Tensor]:
        """As `cut`."""
        seed = int(torch.randint(2**62, (1,), generator=self._generator))
        rng = np.random.default_rng(seed)
        rows = self._spans.batch(self._batch, rng)
        return cut(self._clips, self._spans, rows, rng.integers(0, 2, self._batch), self._patch)


@dataclass(frozen=True)
class Latents:
    """Encoded spans and their descriptions.

    Attributes:
        spans: the spans.
        mean, deviation: (2, N, K, D), original and mirrored; 0 for locked subspaces.
        texts: rows of ``sentences`` for each clip, original and mirrored.
        sentences: (S, text) text vectors.
    """

    spans: Spans
    mean: F32
    deviation: F32
    texts: tuple[tuple[I64, ...], tuple[I64, ...]]
    sentences: F32


@torch.no_grad()
def latents(
    model: LatentModel,
    clips: Clips,
    found: Spans,
    labelled: dict[str, LibraryClip],
    descriptions: Descriptions,
) -> Latents:
    """Encode all spans, with all phrasings of the descriptions of their clips."""
    rows: dict[str, int] = {}
    texts: tuple[list[I64], list[I64]] = ([], [])
    for name in clips.names:
        phrases = [p for each in descriptions.of(labelled[name]) for p in each.phrasings]
        for flip in (False, True):
            said = [mirror(p) if flip else p for p in phrases]
            numbers = [rows.setdefault(text, len(rows)) for text in said]
            texts[int(flip)].append(np.array(numbers, dtype=np.int64))
    shape = (2, len(found), model.config.subspaces, model.config.size)
    mean = np.zeros(shape, np.float32)
    deviation = np.zeros(shape, np.float32)
    for side in range(2):
        for first in range(0, len(found), _ENCODED_TOGETHER):
            part = np.arange(first, min(first + _ENCODED_TOGETHER, len(found)))
            sides = np.full(len(part), side)
            frames, length = cut(clips, found, part, sides, model.config.patch)
            middle, spread = model.vae.encode(frames, length)
            unlocked = model.vae.layout.unlocked(length)[..., None]
            mean[side, part] = middle.numpy()
            deviation[side, part] = ((0.5 * spread).exp() * unlocked).numpy()
    return Latents(
        found, mean, deviation, (tuple(texts[0]), tuple(texts[1])), text_vectors(list(rows))
    )


@dataclass
class FlowBatch:
    """A training batch of the flow; see `hpstm_ros.model.latent.LatentFlow`."""

    state: Tensor
    noised: Tensor
    tau: Tensor
    text: Tensor
    length: Tensor
    whole: Tensor


class FlowBatches(Iterator[FlowBatch]):
    """Infinite iterator of batches for the flow; all random numbers come from ``generator``."""

    def __init__(
        self,
        data: Latents,
        scaling: tuple[F32, F32],
        batch: int,
        generator: torch.Generator,
        config: LatentConfig,
    ) -> None:
        self._data = data
        self._scaling = scaling
        self._batch = batch
        self._generator = generator
        self._config = config

    def __next__(self) -> FlowBatch:
        """The next batch."""
        seed = int(torch.randint(2**62, (1,), generator=self._generator))
        return self.draw(np.random.default_rng(seed))

    def draw(self, rng: np.random.Generator) -> FlowBatch:
        """Draw a batch with ``rng``."""
        data = self._data
        rows = data.spans.batch(self._batch, rng)
        flips = rng.integers(0, 2, self._batch)
        noise = rng.standard_normal(data.mean[0, rows].shape, dtype=np.float32)
        drawn = data.mean[flips, rows] + data.deviation[flips, rows] * noise
        mean, scale = self._scaling
        unlocked = data.deviation[flips, rows] > 0
        state = np.where(unlocked, (drawn - mean) / scale, 0.0).astype(np.float32)
        text = np.zeros((self._batch, self._config.text), np.float32)
        for k, (row, flip) in enumerate(zip(rows, flips, strict=True)):
            said = data.texts[flip][data.spans.clip[row]]
            if len(said) and rng.random() >= _WITHOUT_TEXT:
                text[k] = data.sentences[rng.choice(said)]
        # tau is more often in the middle, where the flow is most uncertain (Esser et al. 2024)
        tau = 1 / (1 + np.exp(-rng.normal(-0.2, 1.2, (self._batch, 1)))).astype(np.float32)
        from_noise = rng.standard_normal(state.shape, dtype=np.float32)
        at = tau[..., None]
        noised = np.where(unlocked, at * state + (1 - at) * from_noise, 0.0).astype(np.float32)
        length = data.spans.frames[rows, None].astype(np.float32)
        whole = data.spans.whole[rows, None].astype(np.float32)
        return FlowBatch(*(torch.from_numpy(x) for x in (state, noised, tau, text, length, whole)))
