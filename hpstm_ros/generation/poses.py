"""Text to pose at run time: DDIM sampling (Song 2021) of a text-conditioned network in numpy.

The output of the network is clamped to the joint ranges and placed on the floor; positions follow
by forward kinematics, so bone lengths are preserved.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.corrections import floor_heights, within_ranges
from hpstm_ros.generation.intersections import intersections
from hpstm_ros.language.encoder import TextEncoder, checked
from hpstm_ros.language.features import FEATURES, encode_features
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics, to_local
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINTS
from pallas_ros.body.resources import resource
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.runtime import check_tensors, open_stream

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MODEL: Final = "models/text_pose.onnx"
ROWS: Final = 24
"""Length of the network's sequence: 22 joints, the height of the pelvis, and one unused row."""
WIDTH: Final = 6
TOKENS: Final = 20
"""Maximum number of tokens of a text that are used."""
TRAINED_STEPS: Final = 1000
STEPS: Final = 30
GUIDANCE: Final = (2.0, 7.0)
"""Classifier-free guidance at the first (noisiest) and the last step, as in the source."""
MOST: Final = 64
_BATCH: Final = 16
_INPUTS: Final = {
    "pose": (ROWS, WIDTH),
    "time": (1,),
    "tokens": (TOKENS, "width"),
    "mask": (TOKENS,),
    "explicit": (len(FEATURES),),
}
_OUTPUTS: Final = {"clean": (ROWS, WIDTH), "attention": (TOKENS,)}
_SPARE: Final = 2
"""Minimum number of additional poses to sample, so that self-intersecting ones can be dropped."""


def encode_pose(q_world_joint: Array, height: Array) -> F32:
    """Encode poses (N, 22, 4) xyzw that face +x, with pelvis heights (N,) m, as rows (N, 24, 6)."""
    rows = np.zeros((len(q_world_joint), ROWS, WIDTH), np.float32)
    rows[:, : len(JOINTS)] = rotations.to_r6d(rotations.to_matrix(q_world_joint))
    rows[:, len(JOINTS), 0] = height
    return rows


def decode_pose(rows: Array) -> tuple[F64, F64]:
    """Decode rows (N, 24, 6) to orientations (N, 22, 4) xyzw and root positions (N, 3) m.

    Orientations are clamped to the joint ranges, and the lowest point is on the floor.
    """
    matrices = rotations.from_r6d(np.asarray(rows[:, : len(JOINTS)], np.float64))
    q = within_ranges(np.asarray(rotations.from_matrix(matrices), np.float64))
    turn = rotations.about_z(-np.asarray(rotations.heading(q[:, 0])))
    q = np.asarray(rotations.multiply(np.broadcast_to(turn[:, None], q.shape), q), np.float64)
    root = np.zeros((len(q), 3))
    root[:, 2] = np.clip(rows[:, len(JOINTS), 0], 0.05, 2.0)
    joints, least = floor_heights()
    p = forward_kinematics(Skeleton.from_height(), q, root)
    root[:, 2] += np.maximum(least + 0.015 - p[:, joints, 2], 0.0).max(axis=1)
    lowest = p[..., 2].min(1)
    root[:, 2] += np.maximum(0.02 - lowest, 0.0)
    return q, root


def alphas_cumprod(steps: int = TRAINED_STEPS) -> F64:
    """Cumulative products of alpha (steps,) of the squared-cosine schedule (Nichol 2021)."""

    def left(t: F64) -> F64:
        return np.asarray(np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2)

    t = np.arange(steps) / steps
    betas = np.minimum(1 - left(t + 1 / steps) / left(t), 0.999)
    return np.asarray(np.cumprod(1 - betas))


_MARK = re.compile(r"\[(?:CLS|SEP)\]|<\|\w+\|>")
"""Tokens at start and end: [CLS] and [SEP] of BERT, <|startoftext|> and <|endoftext|> of CLIP."""


@dataclass(frozen=True)
class TextInputs:
    """A text as input of the network.

    Attributes:
        tokens: (20, D) token features, zero-padded.
        mask: (20,) 1 for tokens, 0 for padding.
        explicit: (F,) explicit features.
        words: the tokens as strings.
    """

    tokens: F32
    mask: F32
    explicit: F32
    words: tuple[str, ...]


def text_inputs(encoder: TextEncoder, texts: list[str]) -> list[TextInputs]:
    """Convert texts to inputs of the network.

    Raises:
        PallasError: a text is empty or too long.
    """
    found = []
    explicit = encode_features(texts)
    for first in range(0, len(texts), 32):
        some = encoder.tokens(texts[first : first + 32])
        for i, words in enumerate(some.words):
            count = min(len(words), TOKENS)
            tokens = np.zeros((TOKENS, some.features.shape[2]), np.float32)
            tokens[:count] = some.features[i, :count]
            mask = (np.arange(TOKENS) < count).astype(np.float32)
            found.append(TextInputs(tokens, mask, explicit[first + i], words[:count]))
    return found


@dataclass(frozen=True)
class Poses:
    """Poses sampled for a text.

    Attributes:
        rotations: (N, 22, 4) global orientations, facing +x.
        root: (N, 3) m.
        words: tokens of the text.
        attention: (words,) share of the attention that each received, in per cent.
        corrected_deg: (N,) mean rotation, in degrees, due to clamping to the joint ranges.
    """

    rotations: F64
    root: F64
    words: tuple[str, ...]
    attention: F64
    corrected_deg: F64 = field(default_factory=lambda: np.zeros(0))

    def positions(self) -> F64:
        """Joint positions (N, 22, 3) m of the default body."""
        return np.asarray(
            forward_kinematics(Skeleton.from_height(), self.rotations, self.root), np.float64
        )

    def by_word(self) -> list[tuple[str, float]]:
        """Whole words, each with its share of the attention to all words, in per cent.

        The pieces of a word are joined; start and end tokens are omitted.
        """
        clip = any(token.endswith("</w>") for token in self.words)
        found: list[tuple[str, float]] = []
        goes_on = False
        for token, share in zip(self.words, self.attention, strict=True):
            if _MARK.fullmatch(token):
                continue
            piece = token.removeprefix("##").removesuffix("</w>")
            if found and (goes_on or token.startswith("##")):
                word, before = found.pop()
                found.append((word + piece, before + float(share)))
            else:
                found.append((piece, float(share)))
            goes_on = clip and not token.endswith("</w>")
        total = max(sum(share for _, share in found), 1e-9)
        return [(word, 100 * share / total) for word, share in found]

    def motion(self, seconds: float = 1.0, fps: float = 30.0) -> Motion:
        """A motion at ``fps`` that holds each pose for ``seconds``, one after another."""
        frames = max(round(seconds * fps), 1)
        return Motion(
            fps, np.repeat(self.positions(), frames, 0), np.repeat(self.rotations, frames, 0)
        )


class PoseSampler:
    """Samples poses for a text; several threads may share it.

    Args:
        model: the ``.onnx`` file.
        encoder: text encoder; MiniLM by default.

    Raises:
        PallasError: the model or the encoder cannot be used.
    """

    def __init__(self, model: str | Path = MODEL, encoder: TextEncoder | None = None) -> None:
        path = resource(model)
        self._stream = open_stream(path, "onnxruntime", _BATCH, expect={"kind": "text_pose"})
        check_tensors(path, self._stream, _INPUTS, _OUTPUTS)
        self._one_at_a_time = threading.Lock()
        self._encoder = encoder or TextEncoder.default()
        self._mean, self._deviation = _scale(self._stream.metadata, path)

    def ignored(self, text: str) -> str:
        """The end of a text that is not read, because only 20 tokens are; usually ""."""
        return self._encoder.ignored(text, TOKENS)

    def sample(
        self,
        text: str,
        count: int = 6,
        seed: int = 0,
        steps: int = STEPS,
        guidance: tuple[float, float] = GUIDANCE,
    ) -> Poses:
        """Sample poses for a text.

        Args:
            text: in English.
            count: number of poses, 1 to 64.
            seed: of the noise; the same seed gives the same poses.
            steps: of the sampler, 2 to 1000.
            guidance: at the first and at the last step.

        Raises:
            PallasError: the text is empty, or a number is out of range.
        """
        if not 1 <= count <= MOST or not 2 <= steps <= TRAINED_STEPS:
            raise PallasError(
                f"{count} poses in {steps} steps: give 1 to {MOST} poses and 2 to"
                f" {TRAINED_STEPS} steps"
            )
        (wanted,) = text_inputs(self._encoder, [checked(text)])
        half = _BATCH // 2
        drawn = half * -(-(count + _SPARE) // half)
        noise = np.random.default_rng(seed).standard_normal((drawn, ROWS, WIDTH))
        parts = []
        attention = np.zeros(TOKENS)
        for first in range(0, drawn, half):
            x, seen = self._denoise(noise[first : first + half], wanted, steps, guidance)
            parts.append(x)
            attention += seen
        rows = np.concatenate(parts) * self._deviation + self._mean
        q, root = decode_pose(rows)
        p = np.asarray(forward_kinematics(Skeleton.from_height(), q, root), np.float64)
        kept = np.argsort(intersections(p), kind="stable")[:count]
        corrected = _corrected_deg(rows[kept], q[kept])
        share = attention[: len(wanted.words)]
        percent = 100 * share / max(float(share.sum()), 1e-9)
        return Poses(q[kept], root[kept], wanted.words, percent, corrected)

    def _denoise(
        self, x: F64, text: TextInputs, steps: int, guidance: tuple[float, float]
    ) -> tuple[F64, F64]:
        """DDIM without added noise, with classifier-free guidance."""
        left = alphas_cumprod()
        times = np.linspace(TRAINED_STEPS - 1, 0, steps).round().astype(int)
        scales = np.linspace(*guidance, steps)
        attention = np.zeros(TOKENS)
        for i, (time, scale) in enumerate(zip(times, scales)):
            clean, seen = self._predict(x, time, text, scale)
            attention += seen
            noise = (x - np.sqrt(left[time]) * clean) / np.sqrt(1 - left[time])
            after = left[times[i + 1]] if i + 1 < steps else 1.0
            x = np.sqrt(after) * clean + np.sqrt(1 - after) * noise
        return x, attention

    def _predict(self, x: F64, time: int, text: TextInputs, scale: float) -> tuple[F64, F64]:
        """Predict the clean pose with guidance, and the attention to the tokens."""
        count = len(x)
        inputs = {name: np.zeros(s, np.float32) for name, s in self._stream.inputs.items()}
        inputs["pose"][:count] = x
        inputs["pose"][count : 2 * count] = x
        inputs["time"][:] = time / TRAINED_STEPS
        inputs["tokens"][:count] = text.tokens
        inputs["mask"][:count] = text.mask
        inputs["explicit"][:count] = text.explicit
        with self._one_at_a_time:  # a stream's buffers serve one thread
            found = self._stream.step(inputs)
            clean = found["clean"].astype(np.float64)
            attention = found["attention"][:count].sum(0).astype(np.float64)
        without = clean[count : 2 * count]
        guided = without + scale * (clean[:count] - without)
        # strong guidance overshoots: rescale to the spread of the prediction (Lin 2024)
        spread = clean[:count].std((1, 2), keepdims=True)
        rescaled = guided * spread / np.maximum(guided.std((1, 2), keepdims=True), 1e-6)
        return 0.7 * rescaled + 0.3 * guided, attention


def _corrected_deg(rows: F64, q: F64) -> F64:
    """(N,) mean rotation of the joints, in degrees, between network output and decoded pose."""
    recovered = rotations.from_matrix(rotations.from_r6d(rows[:, : len(JOINTS)]))
    away = rotations.angle_between(to_local(np.asarray(recovered)), to_local(q))[:, 1:]
    return np.asarray(np.degrees(away).mean(1), np.float64)


def _scale(metadata: Mapping[str, Any], path: Path) -> tuple[F64, F64]:
    try:
        found = [np.array(metadata[name], np.float64) for name in ("mean", "deviation")]
    except (KeyError, TypeError, ValueError):
        found = []
    if [x.shape for x in found] != [(ROWS, WIDTH)] * 2 or not np.isfinite(found).all():
        raise PallasError(
            f"model file {path}: it does not state the scale of its poses; export it again"
        )
    return found[0], found[1]
