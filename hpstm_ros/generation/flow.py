"""Sampling of HPSTM-Gen: the flow is integrated in numpy, with one ONNX evaluation per step.

A window is 4 s long. Longer motion consists of windows that overlap by one second: the last second
of a window is an observation of the next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.representation import FEATURES, FPS, FRAMES, Place
from hpstm_ros.generation.request import SIDES, HandTarget, Progress, Request
from hpstm_ros.generation.text import TEXT, text_vectors
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS
from pallas_ros.runtime import BatchedStream, Sizes, check_tensors

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
J = len(JOINTS)
STATE = FEATURES + 3 * (J - 1)
OVERLAP = 30
"""Number of frames that a window shares with the previous one."""
MODEL = "models/hpstm_gen_unlearned.onnx"
"""Without the direction of violence in its text layer (`pallas unlearn --method refusal`)."""
ORIGINAL = "models/hpstm_gen.onnx"
"""As trained; it can be violent."""
_POSITIONS = slice(3, 3 + 3 * (J - 1))
_BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes for which sessions are opened; other batches are padded."""
_INPUTS: dict[str, Sizes] = {
    "state": (FRAMES, STATE),
    "tau": (1,),
    "text": ("text",),
    "observed": (FRAMES, STATE),
    "seen": (FRAMES, J),
    "noise": (1,),
    "hands": (FRAMES, 8),
}


@dataclass
class Known:
    """Conditions of a batch of B windows; see `hpstm_ros.model.hpstm_gen.Context`.

    Attributes:
        features: (B, 120, 137) observed features.
        seen: (B, 120, 22) whether each joint is observed.
        noise_m: standard deviation of the observed positions, m.
        hands: (B, 120, 8) hand targets, see `hand_inputs`.
        text: (B, TEXT) text vectors, zero for no text.
    """

    features: F32
    seen: NDArray[np.bool_]
    noise_m: float
    hands: F32
    text: F32

    @classmethod
    def nothing(cls, batch: int) -> "Known":
        """Return no conditions for ``batch`` windows."""
        return cls(
            np.zeros((batch, FRAMES, FEATURES), np.float32),
            np.zeros((batch, FRAMES, J), np.bool_),
            0.0,
            np.zeros((batch, FRAMES, 8), np.float32),
            np.zeros((batch, TEXT), np.float32),
        )


def states(features: F32) -> F32:
    """Convert features (..., 137) to states (..., 200): root, positions relative to it, r6d,
    contacts.
    """
    p = rep.positions(features)
    relative = (p[..., 1:, :] - p[..., :1, :]).reshape(*p.shape[:-2], -1)
    return np.concatenate((features[..., :3], relative, features[..., 3:]), -1, dtype=np.float32)


class Flow:
    """HPSTM-Gen, ready to sample.

    Args:
        path: the model file.
        backend: see `pallas_ros.runtime.open_stream`.

    Raises:
        PallasError: the file cannot be used.
    """

    def __init__(self, path: str | Path = MODEL, backend: str = "onnxruntime") -> None:
        expect = {"kind": "hpstm_gen", "rate_hz": FPS, "joints": list(JOINTS)}
        self._stream = BatchedStream(path, expect, backend, _BATCHES)
        check_tensors(self._stream.path, self._stream.first, _INPUTS, {"end": (FRAMES, STATE)})
        meta = self._stream.first.metadata
        if len(meta.get("mean", ())) != STATE or len(meta.get("scale", ())) != STATE:
            raise PallasError(
                f"{self._stream.path}: not a model of kind hpstm_gen: export it again"
            )
        self.metadata = meta
        self._mean = np.array(meta["mean"], np.float32)
        self._scale = np.array(meta["scale"], np.float32)
        self._ddpm = bool(meta.get("config", {}).get("ddpm", False))

    def evaluate(self, state: F32, tau: float, inputs: dict[str, F32]) -> F32:
        """Predict the end point (B, 120, 200) of the flow from a state (B, 120, 200) at ``tau``."""
        given = {"state": state, "tau": np.full((len(state), 1), tau, np.float32), **inputs}
        return self._stream.step(given)["end"]

    def _inputs(self, known: Known) -> dict[str, F32]:
        observed = (states(known.features) - self._mean) / self._scale
        return {
            "text": known.text,
            "observed": observed.astype(np.float32),
            "seen": known.seen.astype(np.float32),
            "noise": np.full((len(observed), 1), known.noise_m / 0.03, np.float32),
            "hands": known.hands,
        }

    def sample(
        self,
        known: Known,
        generators: Sequence[np.random.Generator],
        steps: int = 10,
        guidance: float = 1.0,
        heun: bool = False,
        progress: Progress | None = None,
    ) -> F32:
        """Sample features (B, 120, 137), one motion per window; see `states`."""
        return self._features(self.states(known, generators, steps, guidance, heun, progress))

    def states(
        self,
        known: Known,
        generators: Sequence[np.random.Generator],
        steps: int = 10,
        guidance: float = 1.0,
        heun: bool = False,
        progress: Progress | None = None,
    ) -> F32:
        """Sample one standardised state (B, 120, 200) per window, from the noise of its generator.

        With text, the end point is extrapolated by ``guidance`` from the one without text to the
        one with text (classifier-free guidance, Ho and Salimans 2022).
        """
        inputs = self._inputs(known)
        guided = guidance != 1.0 and bool(known.text.any())
        if guided:
            inputs = {name: np.concatenate((x, x)) for name, x in inputs.items()}
            inputs["text"][len(known.text) :] = 0

        def end(x: F32, tau: float) -> F32:
            if not guided:
                return self.evaluate(x, tau, inputs)
            both = self.evaluate(np.concatenate((x, x)), tau, inputs)
            return guided_end(both[: len(x)], both[len(x) :], guidance)

        x = np.stack([g.standard_normal((FRAMES, STATE), dtype=np.float32) for g in generators])
        for step in range(steps):
            tau = step / steps
            following = (step + 1) / steps
            towards = end(x, tau)
            if self._ddpm:
                x = ancestral(x, towards, tau, following, generators)
                continue
            x = integrated(x, towards, tau, following, end if heun else None)
            if progress:
                progress("sampling", (step + 1) / steps)
        return x

    def positions(self, state: F32) -> F32:
        """Joint positions (B, 120, 22, 3) m contained in standardised states (B, 120, 200)."""
        raw = state * self._scale + self._mean
        relative = raw[..., _POSITIONS].reshape(*raw.shape[:-1], J - 1, 3)
        root = raw[..., None, :3]
        return np.concatenate((root, root + relative), -2, dtype=np.float32)

    def _features(self, state: F32) -> F32:
        raw = state * self._scale + self._mean
        return np.concatenate((raw[..., :3], raw[..., _POSITIONS.stop :]), -1, dtype=np.float32)


def guided_end(conditional: F32, unconditional: F32, guidance: float) -> F32:
    """End point (B, ...) with classifier-free guidance (Ho and Salimans 2022).

    It is extrapolated from ``unconditional`` towards ``conditional`` by the factor ``guidance``.
    """
    return np.asarray(
        unconditional + np.float32(guidance) * (conditional - unconditional), np.float32
    )


def integrated(
    x: F32, towards: F32, tau: float, following: float, end: Callable[[F32, float], F32] | None
) -> F32:
    """Integrate the flow from states (B, ...) at ``tau`` to time ``following``.

    Args:
        x: states at ``tau``.
        towards: predicted end points of ``x``.
        tau: time of ``x``, 0 to 1.
        following: time of the result, ``tau`` to 1.
        end: predicts end points from states and their time, for a Heun step; None for an Euler
            step. The step to time 1 is always an Euler step, where the velocity is undefined.
    """
    velocity = (towards - x) / np.float32(1 - tau)
    ahead = x + np.float32(following - tau) * velocity
    if end is not None and following < 1:
        there = (end(ahead, following) - ahead) / np.float32(1 - following)
        ahead = x + np.float32((following - tau) / 2) * (velocity + there)
    return ahead.astype(np.float32)


def ancestral(
    x: F32, end: F32, tau: float, following: float, generators: Sequence[np.random.Generator]
) -> F32:
    """One DDPM step (Ho 2020) from states (B, ...) towards the end point, with new noise."""
    a, ahead = (np.sin(0.5 * np.pi * t) for t in (tau, following))
    b, left = (np.cos(0.5 * np.pi * t) for t in (tau, following))
    if following >= 1:
        return end
    noise = (x - a * end) / b
    fresh = (left / b) * np.sqrt(max(1 - (a / ahead) ** 2, 0.0))
    drawn = np.stack([g.standard_normal(x.shape[1:], dtype=np.float32) for g in generators])
    kept = np.sqrt(max(left**2 - fresh**2, 0.0))
    return np.asarray(ahead * end + kept * noise + fresh * drawn, np.float32)


class FlowGenerator:
    """The flow as a `Generator` of any duration."""

    def __init__(self, flow: Flow | None = None) -> None:
        self.flow = flow or Flow()

    def generate(self, request: Request, progress: Progress) -> F32:
        """See `hpstm_ros.generation.request.Generator`."""
        k = request.candidates
        generators = [np.random.default_rng([request.seed, i]) for i in range(k)]
        text = np.zeros((1, TEXT), np.float32)
        if request.text:
            progress("reading the text", 0.0)
            text = text_vectors([request.text])
        past = past_of(request)
        total = len(past) + request.frames
        windows = max(1, -(-(total - OVERLAP) // (FRAMES - OVERLAP)))
        out = np.repeat(past[None], k, axis=0)
        for window in range(windows):
            first = 0 if window == 0 else out.shape[1] - OVERLAP
            places = [_place(row, first) for row in out]
            known = Known.nothing(k)
            known.text[:] = text
            for row, place in enumerate(places):
                before = out[row, first:]
                known.features[row, : len(before)] = rep.seen_from(before, place)
                known.seen[row, : len(before)] = True
                shift = len(past) - first
                known.hands[row] = hand_inputs(request.hands, place, shift, request.frames)

            def report(stage: str, part: float, window: int = window) -> None:
                progress(stage, (window + part) / windows)

            drawn = self.flow.sample(
                known, generators, request.steps, request.guidance, request.heun, report
            )
            world = np.stack([rep.placed(x, p) for x, p in zip(drawn, places, strict=True)])
            out = np.stack([joined(a, b, first) for a, b in zip(out, world, strict=True)])
        return out[:, len(past) : total]


def past_of(request: Request) -> F32:
    """Features (T, 137) of the last second of the start; its last frame is at the origin, facing
    +x.
    """
    if request.start is None:
        return np.zeros((0, FEATURES), np.float32)
    features, place = rep.from_motion(request.start)
    world = rep.placed(features[-OVERLAP:], place)
    q, root, _ = rep.decode(world[-1])
    return rep.seen_from(world, rep.place_of(q[0], root))


def _place(features: F32, first: int) -> Place:
    if not len(features):
        return Place()
    q, root, _ = rep.decode(features[first])
    return rep.place_of(q[0], root)


def hand_inputs(hands: Sequence[HandTarget], place: Place, shift: int, frames: int) -> F32:
    """Hand targets (120, 8) in the frame of a window whose first generated frame is ``shift``.

    A target at the end of the motion belongs to the last of its ``frames``.
    """
    out = np.zeros((FRAMES, 8), np.float32)
    for target in hands:
        frame = min(round(target.time * FPS), frames - 1) + shift
        if 0 <= frame < FRAMES:
            at = 4 * SIDES.index(target.side)
            turn = rotations.about_z(-place.heading)
            point = rotations.rotate(turn, np.array(target.point) - [place.x, place.y, 0.0])
            out[frame, at : at + 3] = point
            out[frame, at + 3] = 1.0
    return out


def joined(before: F32, after: F32, first: int) -> F32:
    """Join ``before`` (A, 137) and ``after`` (B, 137), which begins at frame ``first`` of
    ``before``.

    The overlapping frames are blended.
    """
    shared = len(before) - first
    if not shared:
        return after
    part = _smooth_step((np.arange(shared) + 1) / (shared + 1))[:, None]
    both = blended(before[first:], after[:shared], part)
    return np.concatenate((before[:first], both, after[shared:]))


def blended(a: F32, b: F32, part: F64 | F32) -> F32:
    """Features (T, 137) interpolated from ``a`` to ``b``, both (T, 137), by ``part`` (T, 1)."""
    mixed = a + (b - a) * part
    r6d = rotations.to_r6d(rep.matrices(mixed))
    mixed[..., rep.R6D] = r6d.reshape(*r6d.shape[:-2], -1)
    return np.asarray(mixed, np.float32)


def _smooth_step(x: F64) -> F64:
    return np.asarray(x * x * (3 - 2 * x))


def original() -> FlowGenerator:
    """The flow before unlearning, which can be violent; by request only."""
    return FlowGenerator(Flow(ORIGINAL))
