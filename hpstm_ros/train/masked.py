"""Training of the masked Transformer over motion tokens."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.text import text_vectors
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.features import mirror
from hpstm_ros.model.tokens import STRIDE, MaskedConfig, MaskedTransformer, VqVae
from hpstm_ros.train.heading_windows import Clips
from pallas_ros.data.library import LibraryClip
from pallas_ros.train.loop import LoopSettings, fit

Codes = NDArray[np.int64]
F32 = NDArray[np.float32]

_PHASES = (0, 2)
"""Possible first frames of the tokens of a clip."""
_SHORTEST = 8
"""Tokens of the shortest training window: about 1 s."""
_MEAN_MORE = 22.0
"""Mean of the exponential distribution of additional tokens: windows of 4 s on average."""
_WITHOUT_TEXT = 0.1
_WRONG = 0.08
"""Share of visible tokens that are replaced by random ones, to train robustness to early errors."""


@dataclass(frozen=True)
class TokenClip:
    """A clip as tokens, and its descriptions.

    Attributes:
        name: of the clip.
        tokens: original and mirrored, each at two phases: [mirror][phase] -> (N,).
        texts: rows of the text vectors, for the original and the mirrored clip.
    """

    name: str
    tokens: tuple[tuple[Codes, ...], tuple[Codes, ...]]
    texts: tuple[Codes, Codes]


@dataclass(frozen=True)
class Corpus:
    """Clips as tokens, and the text vectors to which they refer.

    Attributes:
        clips: clips of at least the length of the shortest window.
        sentences: (S, text) text vectors.
    """

    clips: tuple[TokenClip, ...]
    sentences: F32


def corpus(
    vq: VqVae,
    clips: Clips,
    labelled: dict[str, LibraryClip],
    descriptions: Descriptions,
) -> Corpus:
    """Encode clips as tokens, with all phrasings of their descriptions."""
    rows: dict[str, int] = {}

    def row(text: str) -> int:
        return rows.setdefault(text, len(rows))

    kept = []
    for index, name in enumerate(clips.names):
        said = descriptions.of(labelled[name])
        phrases = [phrase for each in said for phrase in each.phrasings]
        texts = tuple(
            np.array([row(mirror(p) if flip else p) for p in phrases], dtype=np.int64)
            for flip in (False, True)
        )
        tokens = tuple(
            tuple(encode(vq, clips.clip(index, flip)[phase:]) for phase in _PHASES)
            for flip in (False, True)
        )
        if min(len(part) for both in tokens for part in both) >= _SHORTEST:
            kept.append(TokenClip(name, (tokens[0], tokens[1]), (texts[0], texts[1])))
    return Corpus(tuple(kept), text_vectors(list(rows)))


@torch.no_grad()
def encode(vq: VqVae, frames: F32) -> Codes:
    """Encode frames (T, 138) as tokens (T // 4,)."""
    whole = len(frames) // STRIDE * STRIDE
    found = vq.encode(torch.from_numpy(np.ascontiguousarray(frames[:whole]))[None])
    return np.asarray(found[0].numpy(), dtype=np.int64)


@dataclass
class Batch:
    """A training batch: true and visible tokens (B, N), text (B, D), mask of the targets (B, N)."""

    truth: Tensor
    shown: Tensor
    text: Tensor
    hidden: Tensor


class Batches(Iterator[Batch]):
    """Infinite iterator of batches of windows of equal length; all random numbers come from
    ``generator``.
    """

    def __init__(
        self, data: Corpus, config: MaskedConfig, batch: int, generator: torch.Generator
    ) -> None:
        self._data = data
        self._config = config
        self._batch = batch
        self._generator = generator
        self._lengths = np.array([min(len(t) for t in c.tokens[0]) for c in data.clips])

    def __next__(self) -> Batch:
        """The next batch."""
        seed = int(torch.randint(2**62, (1,), generator=self._generator))
        return self.draw(np.random.default_rng(seed))

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw a batch with ``rng``."""
        most = min(self._config.tokens, int(self._lengths.max()))
        n = min(_SHORTEST + int(rng.exponential(_MEAN_MORE)), most)
        chance = np.where(self._lengths >= n, np.sqrt(self._lengths), 0.0)
        picked = rng.choice(len(self._lengths), self._batch, p=chance / chance.sum())
        truth = np.empty((self._batch, n), dtype=np.int64)
        text = np.zeros((self._batch, self._config.text), dtype=np.float32)
        for k, clip in enumerate(self._data.clips[i] for i in picked):
            flip = int(rng.integers(2))
            tokens = clip.tokens[flip][int(rng.integers(len(_PHASES)))]
            start = int(rng.integers(len(tokens) - n + 1))
            truth[k] = tokens[start : start + n]
            if len(clip.texts[flip]) and rng.random() >= _WITHOUT_TEXT:
                text[k] = self._data.sentences[rng.choice(clip.texts[flip])]
        share = np.cos(0.5 * math.pi * rng.random((self._batch, 1)))
        hidden = rng.random((self._batch, n)) < share
        hidden[:, 0] |= ~hidden.any(axis=1)
        shown = np.where(hidden, self._config.codes, truth)
        wrong = ~hidden & (rng.random(truth.shape) < _WRONG)
        shown[wrong] = rng.integers(0, self._config.codes, int(wrong.sum()))
        return Batch(*(torch.from_numpy(x) for x in (truth, shown, text, hidden | wrong)))


def _loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    used = torch.ones(batch.truth.shape)
    logits = model(batch.shown.float(), used, batch.text)[batch.hidden]
    truth = batch.truth[batch.hidden]
    loss = F.cross_entropy(logits, truth, label_smoothing=0.05)
    right = (logits.argmax(-1) == truth).float().mean()
    return loss, {"right": float(right)}


def train_masked(
    data: Corpus,
    validation: Corpus,
    config: MaskedConfig,
    batch: int,
    loop: LoopSettings,
    folder: Path,
) -> MaskedTransformer:
    """Train, resuming from ``folder``; return the averaged model."""
    torch.manual_seed(loop.seed)
    torch.set_num_threads(1)
    model = MaskedTransformer(config)
    generator = torch.Generator().manual_seed(1 + loop.seed)
    batches = Batches(data, config, batch, generator)
    checked = Batches(validation, config, batch, torch.Generator())
    fixed = [checked.draw(np.random.default_rng(seed)) for seed in range(8)]

    def validate(module: nn.Module) -> dict[str, float]:
        found = [_loss(module, each) for each in fixed]
        return {
            "validation_loss": float(np.mean([float(loss) for loss, _ in found])),
            "validation_right": float(np.mean([figures["right"] for _, figures in found])),
        }

    return cast(MaskedTransformer, fit(model, batches, _loss, loop, folder, validate, generator))
