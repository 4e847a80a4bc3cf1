"""The exported HPSTM network behind the smoother: holds the window, asks for one frame of it, turns the answer into world coordinates."""

from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.estimate import Estimate
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.runtime import Stream, open_stream

F64 = NDArray[np.float64]

J = len(JOINTS)
_MOVES_M_S = np.array(
    [0.4 if n.endswith(("_wrist", "_ankle", "_foot")) else 0.25 if n.endswith(("_elbow", "_knee")) or n == "head" else 0.15 for n in JOINTS]
)
"""How far a joint may wander for each second that it is not seen, a standard deviation of each coordinate. It is added to what the network says, which
knows how people of its training data move on while a limb is hidden, and is far too sure of it for others (docs/smoothing.md). Chosen, not fitted."""
INPUTS = ("points", "seen", "bones", "known", "lookahead")
OUTPUTS = ("positions", "rotations", "covariance", "bones_used")


class HpstmNetwork:
    """A window of joint positions in, an `Estimate` of the frame ``lookahead`` frames before the newest out.

    Args:
        stream: the opened model.
        lookahead: frames, 0 to the model's most.

    Attributes:
        scale: factor (22,) on the network's covariance of each joint, found on motions kept out of training when the model was released.

    Raises:
        PallasError: the model is not an HPSTM model, or cannot look that far ahead.
    """

    def __init__(self, stream: Stream, lookahead: int) -> None:
        if set(stream.inputs) != set(INPUTS) or set(stream.outputs) != set(OUTPUTS):
            raise PallasError(
                f"the model is not an HPSTM model: its inputs are {', '.join(stream.inputs)}; give one that `pallas export hpstm` wrote"
            )
        self._stream = stream
        self._frames, most = stream.inputs["points"][1], stream.inputs["lookahead"][1] - 1
        if not 0 <= lookahead <= most:
            raise PallasError(f"look-ahead of {lookahead} frames: this model takes 0 to {most}")
        self.lookahead = lookahead
        self.scale = _scales(stream.metadata.get("covariance_scale"), most + 1)[lookahead]
        self._ask = np.eye(most + 1, dtype=np.float32)[None, lookahead]
        self._window: deque[F64] = deque(maxlen=self._frames)

    def reset(self) -> None:
        """Forget the past."""
        self._window.clear()

    def push(self, points: F64, bones: F64 | None) -> Estimate | None:
        """Take points (22, 3) m, world, NaN where not seen; ``bones`` (22,) m where the lengths are held.

        Returns:
            The frame ``lookahead`` frames ago, or None for the first ``lookahead`` frames.
        """
        self._window.append(points)
        if len(self._window) <= self.lookahead:
            return None
        window = np.full((self._frames, J, 3), np.nan)
        window[-len(self._window) :] = self._window
        seen = np.isfinite(window).all(-1)
        if not seen.any():
            return None
        origin = window[seen].mean(0)  # keeps float32 precise wherever the body walks
        out = self._stream.step(
            {
                "points": np.where(seen[..., None], window - origin, 0.0)[None],
                "seen": seen[None],
                "bones": np.zeros((1, J)) if bones is None else bones[None],
                "known": np.full((1, 1), bones is not None),
                "lookahead": self._ask,
            }
        )
        covariance = out["covariance"][0].astype(np.float64) * self.scale[:, None, None]
        covariance += ((_MOVES_M_S * self._unseen_s(seen)) ** 2)[:, None, None] * np.eye(3)
        # float32 leaves errors of 1e-7 of the largest variance, which could make the smallest one negative
        covariance += (1e-6 * np.trace(covariance, axis1=-2, axis2=-1) + 1e-10)[:, None, None] * np.eye(3)
        return Estimate(
            positions=out["positions"][0] + origin,
            rotations=np.asarray(rotations.from_matrix(out["rotations"][0].astype(np.float64)), dtype=np.float64),
            covariance=0.5 * (covariance + np.swapaxes(covariance, -1, -2)),
            bones=out["bones_used"][0].astype(np.float64),
        )

    def _unseen_s(self, seen: NDArray[np.bool_]) -> F64:
        """For each joint (22,) the time from the frame asked for to the nearest one that shows it; 0 where none in the window (L, 22) does.

        A joint that is never seen is one that the estimator's format lacks: it is inferred from its neighbours, as in training.
        """
        away = np.abs(np.arange(self._frames) - (self._frames - 1 - self.lookahead))
        nearest = np.where(seen, away[:, None], self._frames).min(axis=0)
        return np.asarray(np.where(nearest < self._frames, nearest, 0) / MODEL_RATE_HZ)


def _scales(given: object, lookaheads: int) -> F64:
    """Covariance factors (lookaheads, 22) of a model's document: there by look-ahead and joint, by look-ahead alone, or left out."""
    try:
        scales = np.ones(1) if given is None else np.asarray(given, dtype=np.float64)
        scales = np.broadcast_to(scales[:, None] if scales.ndim == 1 else scales, (lookaheads, J))
    except (TypeError, ValueError):
        scales = np.zeros(1)
    if not ((scales > 0.01) & (scales < 100)).all():
        raise PallasError(f"the model's covariance factors are not {lookaheads} x {J} numbers from 0.01 to 100: calibrate it anew")
    return scales


def open_network(path: str | Path, backend: str = "auto", threads: int = 1) -> Stream:
    """Open a model file and warm it up; it holds no state, so several windows can share it. See `pallas_ros.runtime.open_stream`."""
    stream = open_stream(path, backend=backend, threads=threads, expect={"kind": "hpstm", "joints": list(JOINTS)})
    stream.warm_up()
    return stream
