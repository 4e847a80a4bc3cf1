"""The second guard: a classifier checks the motion itself before it is played.

Requests can be worded innocently, so the guard uses only joint positions and velocities, not the
text.
"""

import threading
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.representation import FPS, body_scale
from hpstm_ros.generation.request_words import asks_for_violence
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.resources import resource
from pallas_ros.runtime import Stream, open_stream

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MODEL: Final = "models/violence.onnx"
WINDOW: Final = 64
"""Frames of the classifier's window, at 30 Hz."""
HOP: Final = 16
"""Frames between the starts of successive windows of a longer motion."""
VALUES: Final = 22 * 3 + 2
"""Values per frame: joint positions relative to the pelvis, and the pelvis' displacement since the
previous frame, in the heading frame."""

REFUSAL: Final = "the motion looks violent and is not played: ask for another motion"


def guard_frames(motion: Motion) -> F32:
    """Classifier input (T, 68) at 30 Hz for a motion of any frame rate and body size.

    Raises:
        PallasError: a frame is not finite.
    """
    if not (np.isfinite(motion.positions).all() and np.isfinite(motion.rotations).all()):
        raise PallasError("the motion contains values that are not finite: smooth it first")
    even = motion if motion.fps == FPS else resample(motion, FPS)
    p = even.positions / body_scale(motion.positions)
    back = rotations.about_z(-np.asarray(rotations.heading(even.rotations[:, 0])))
    step = rotations.rotate(back, np.diff(p[:, 0], axis=0, prepend=p[:1, 0]))
    joints = rotations.rotate(np.broadcast_to(back[:, None], (*p.shape[:2], 4)), p - p[:, :1])
    return np.concatenate((joints.reshape(len(p), -1), step[:, :2]), axis=1, dtype=np.float32)


def windows(frames: F32) -> F32:
    """Split frames (T, 68) into windows (W, 64, 68); a short one is padded with its last frame."""
    if len(frames) < WINDOW:
        frames = np.concatenate((frames, np.repeat(frames[-1:], WINDOW - len(frames), axis=0)))
    starts = list(range(0, len(frames) - WINDOW + 1, HOP))
    if starts[-1] + WINDOW < len(frames):
        starts.append(len(frames) - WINDOW)
    return np.stack([frames[k : k + WINDOW] for k in starts])


def text_refusal(text: str) -> str | None:
    """Reason for rejecting a request because of its words, in one sentence; None to accept it.

    This is the first guard. An innocently worded request passes it and is left to the classifier.
    """
    if asks_for_violence(text):
        return "the request describes violence, which is not generated: request another motion"
    return None


def released_refusal(motion: Motion) -> str | None:
    """Apply `MotionGuard.refusal` of the released classifier, which is loaded once per process."""
    return _released().refusal(motion)


class MotionGuard:
    """The classifier of violent motion; several threads may share it.

    Args:
        stream: the opened model.

    Raises:
        PallasError: the model is not a classifier of violent motion, or its threshold is invalid.
    """

    def __init__(self, stream: Stream) -> None:
        frames = stream.inputs.get("frames", ())
        logit = stream.outputs.get("logit", ())
        if frames[1:] != (WINDOW, VALUES) or logit[1:] != (1,) or len(stream.inputs) > 1:
            raise PallasError(
                "the model is not a classifier of violent motion: give one written by `pallas"
                " train violence`"
            )
        self._stream = stream
        self._one_at_a_time = threading.Lock()
        self.threshold = _threshold(stream)

    @classmethod
    def open(cls, path: str | Path = MODEL, backend: str = "onnxruntime") -> "MotionGuard":
        """Open a model file (the released one by default)."""
        return cls(open_stream(resource(path), backend=backend, expect={"kind": "violence"}))

    def score(self, motion: Motion) -> float:
        """Probability of violence, 0 to 1: that of the most violent two seconds."""
        found = windows(guard_frames(motion))
        scores = [self.probability(window[None]) for window in found]
        return float(np.max(scores))  # unlike max, NaN if any is

    def probability(self, window: F32) -> float:
        """Probability of violence of one window (1, 64, 68)."""
        with self._one_at_a_time:  # a stream's buffers serve one thread
            logit = float(self._stream.step({"frames": window})["logit"][0, 0])
        return float(1.0 / (1.0 + np.exp(-logit)))

    def refusal(self, motion: Motion) -> str | None:
        """Reason for rejecting a motion, in one sentence; None to accept it.

        A score or threshold that is not a number rejects it.
        """
        return None if self.score(motion) < self.threshold else REFUSAL


def _threshold(stream: Stream) -> float:
    stated = stream.metadata.get("threshold", 0.5)
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= 1:
        raise PallasError(
            f"the threshold of the classifier of violent motion is {str(stated)[:40]}, expected a"
            " number from 0 to 1: export the model again"
        )
    return float(stated)


@cache
def _released() -> MotionGuard:
    return MotionGuard.open()
