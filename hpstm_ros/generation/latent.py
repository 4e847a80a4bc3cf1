"""The length-aware generator at run time: a flow over as many subspaces as the length unlocks, and
the decoder, in one ONNX file. Neither torch nor ROS.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import heading_frames, representation
from hpstm_ros.generation.flow import blended, guided_end, integrated, past_of
from hpstm_ros.generation.request import Progress, Request
from hpstm_ros.generation.stepping import path_by_feet
from hpstm_ros.generation.text import TEXT, check_sentences, text_vectors
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS
from pallas_ros.runtime import BatchedStream, Sizes, check_tensors

F32 = NDArray[np.float32]

MODEL: Final = "models/latent.onnx"
SHORTEST_S: Final = 1.0
"""s, the shortest motion that was trained."""
_BLENDED_FRAMES = 15
"""Frames over which the last body of a start is blended into the sampled motion."""
_INPUTS: Final[dict[str, Sizes]] = {
    "state": ("subspaces", "size"),
    "tau": (1,),
    "text": ("text",),
    "length": (1,),
}
_OUTPUTS: Final[dict[str, Sizes]] = {
    "end": ("subspaces", "size"),
    "frames": ("frames", heading_frames.FEATURES),
}


class LatentGenerator:
    """Motion for a sentence, sampled for the requested duration: a `Generator` of 1 to 10 s.

    Args:
        path: the model file.
        backend: as of `pallas_ros.runtime.open_stream`.

    Raises:
        PallasError: the file is missing, damaged, or of another kind.
    """

    def __init__(self, path: str | Path = MODEL, backend: str = "onnxruntime") -> None:
        self._stream = BatchedStream(
            path,
            {"kind": "latent", "rate_hz": representation.FPS, "joints": list(JOINTS)},
            backend,
            missing="train the length-aware generator with `pallas train latent` and copy its"
            " output there",
        )
        first = self._stream.first
        check_tensors(self._stream.path, first, _INPUTS, _OUTPUTS)
        check_sentences(self._stream.path, first)
        _, self.subspaces, self.size = first.inputs["state"]
        self.frames = first.outputs["frames"][1]

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
                f"a motion of {request.seconds:g} s was requested, but the length-aware generator "
                f"generates {SHORTEST_S:g} to {self.longest_s:g} s: request that, or use --model"
                " flow"
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
        return np.stack([continued(past, row) for row in found])

    def draw(self, text: F32, request: Request, progress: Progress) -> F32:
        """Frames (K, T, 138) of `heading_frames` for a text (1, TEXT), zero for none.

        Integrates the flow from noise in Euler or Heun steps. With a text, the end point is
        extrapolated from the prediction without the text by ``guidance`` times the difference that
        the text makes (classifier-free guidance, Ho and Salimans 2022).
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
            return guided_end(out[:k], out[k:], request.guidance)

        for step in range(request.steps):
            tau = step / request.steps
            following = (step + 1) / request.steps
            x = integrated(x, end(x, tau), tau, following, end if request.heun else None)
            progress("sampling", (step + 1) / request.steps)
        progress("decoding", 0.0)
        return self._evaluate(x, 1.0, np.tile(text, (k, 1)), length)[1][:, : request.frames]

    def _evaluate(self, state: F32, tau: float, text: F32, length: float) -> tuple[F32, F32]:
        """The predicted end point (B, K, D) and the decoded frames (B, T, 138) of a state."""
        rows = len(state)
        inputs = {
            "state": state,
            "tau": np.full((rows, 1), tau, np.float32),
            "text": text,
            "length": np.full((rows, 1), length, np.float32),
        }
        out = self._stream.step(inputs)
        return out["end"], out["frames"]


def continued(last: F32, drawn: F32) -> F32:
    """Return ``drawn`` (T, 137), blended from the body ``last`` (137,) within half a second."""
    shared = min(_BLENDED_FRAMES, len(drawn))
    part = (np.arange(shared) + 1.0) / (shared + 1)
    part = (part * part * (3 - 2 * part))[:, None]
    held = np.repeat(last[None], shared, axis=0)
    return np.concatenate((blended(held, drawn[:shared], part), drawn[shared:]))
