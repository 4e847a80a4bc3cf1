"""The length-aware generator at run time: a flow over as many subspaces as the length unlocks, and
the decoder, in one ONNX file. Neither torch nor ROS.
"""

import threading
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import heading_frames, representation
from hpstm_ros.generation.flow import blended, past_of
from hpstm_ros.generation.request import Progress, Request
from hpstm_ros.generation.stepping import path_by_feet
from hpstm_ros.generation.text import TEXT, text_vectors
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS
from pallas_ros.body.resources import resource
from pallas_ros.runtime import Stream, open_stream

F32 = NDArray[np.float32]

MODEL: Final = "models/latent.onnx"
SHORTEST_S: Final = 1.0
"""s, the shortest motion that was trained."""
_TAKE_UP_FRAMES = 15
"""Frames over which a start's last body turns into the motion that was drawn."""


class LatentGenerator:
    """Motion for a sentence, drawn for the time that it has: a `Generator` of 1 to 10 s.

    Args:
        path: the model file.
        backend: as of `pallas_ros.runtime.open_stream`.

    Raises:
        PallasError: the file is missing, damaged, or of another kind.
    """

    def __init__(self, path: str | Path = MODEL, backend: str = "onnxruntime") -> None:
        try:
            self._path = resource(path)
        except PallasError as error:
            raise PallasError(
                f"{error}: train the length-aware generator with `pallas train latent` and put what"
                " it writes there"
            ) from None
        self._backend = backend
        self._streams: dict[int, Stream] = {}
        self._one_at_a_time = threading.Lock()
        first = self._stream(1)
        if first.inputs["text"][1] != TEXT:
            raise PallasError(
                f"{self._path}: takes sentences of {first.inputs['text'][1]} values, but the "
                f"sentence encoder gives {TEXT}: train it again"
            )
        _, self.subspaces, self.size = first.inputs["state"]
        self.frames = first.outputs["frames"][1]

    def _stream(self, batch: int) -> Stream:
        if batch not in self._streams:
            expect = {"kind": "latent", "rate_hz": representation.FPS, "joints": list(JOINTS)}
            self._streams[batch] = open_stream(self._path, self._backend, batch, expect=expect)
        return self._streams[batch]

    @property
    def longest_s(self) -> float:
        """The longest motion, s."""
        return self.frames / representation.FPS

    def generate(self, request: Request, progress: Progress) -> F32:
        """Candidates (K, T, 137) of a checked request; equal seeds give equal ones.

        Raises:
            PallasError: the request has hand targets, or lasts too short or too long.
        """
        if request.hands:
            raise PallasError("the length-aware generator takes no hand targets: use --model flow")
        if not SHORTEST_S <= request.seconds <= self.longest_s:
            raise PallasError(
                f"a motion of {request.seconds:g} s was asked for, but the length-aware generator "
                f"gives {SHORTEST_S:g} to {self.longest_s:g} s: ask for that, or use --model flow"
            )
        text = np.zeros((1, TEXT), np.float32)
        if request.text:
            progress("reading the text", 0.0)
            text = text_vectors([request.text])
        frames = self.draw(text, request, progress)
        found = np.stack([path_by_feet(row) for row in heading_frames.to_world(frames)])
        if request.start is None:
            return found
        past = past_of(request)[-1]
        return np.stack([taken_up(past, row) for row in found])

    def draw(self, text: F32, request: Request, progress: Progress) -> F32:
        """Frames (K, T, 138) of `heading_frames` for a text (1, TEXT), zero for none.

        Euler or Heun steps from noise; where a text is given, the flow heads ``guidance`` times as
        far from the end without it to the end with it (Ho and Salimans 2022).
        """
        k = request.candidates
        generators = [np.random.default_rng([request.seed, i]) for i in range(k)]
        shape = (self.subspaces, self.size)
        x = np.stack([g.standard_normal(shape, dtype=np.float32) for g in generators])
        length = float(request.frames)
        guided = bool(text.any()) and request.guidance != 1.0

        def end(state: F32, tau: float) -> F32:
            if not guided:
                return self._evaluate(state, tau, np.tile(text, (k, 1)), length)[0]
            both = np.concatenate((np.tile(text, (k, 1)), np.zeros((k, TEXT), np.float32)))
            out = self._evaluate(np.concatenate((state, state)), tau, both, length)[0]
            said = out[:k]
            unsaid = out[k:]
            return np.asarray(unsaid + np.float32(request.guidance) * (said - unsaid), np.float32)

        for step in range(request.steps):
            tau = step / request.steps
            following = (step + 1) / request.steps
            velocity = (end(x, tau) - x) / np.float32(1 - tau)
            ahead = x + np.float32(following - tau) * velocity
            if request.heun and step + 1 < request.steps:
                there = (end(ahead, following) - ahead) / np.float32(1 - following)
                ahead = x + np.float32((following - tau) / 2) * (velocity + there)
            x = ahead.astype(np.float32)
            progress("sampling", (step + 1) / request.steps)
        progress("decoding", 0.0)
        return self._evaluate(x, 1.0, np.tile(text, (k, 1)), length)[1][:, : request.frames]

    def _evaluate(self, state: F32, tau: float, text: F32, length: float) -> tuple[F32, F32]:
        """The end (B, K, D) that the flow heads for, and the frames (B, T, 138) of the state."""
        rows = len(state)
        inputs = {
            "state": state,
            "tau": np.full((rows, 1), tau, np.float32),
            "text": text,
            "length": np.full((rows, 1), length, np.float32),
        }
        with self._one_at_a_time:  # a stream's buffers serve one thread
            out = self._stream(rows).step(inputs)
            return out["end"].copy(), out["frames"].copy()


def taken_up(last: F32, drawn: F32) -> F32:
    """``drawn`` (T, 137) from the body ``last`` (137,) on, into which it turns in half a second."""
    shared = min(_TAKE_UP_FRAMES, len(drawn))
    part = (np.arange(shared) + 1.0) / (shared + 1)
    part = (part * part * (3 - 2 * part))[:, None]
    held = np.repeat(last[None], shared, axis=0)
    return np.concatenate((blended(held, drawn[:shared], part), drawn[shared:]))
