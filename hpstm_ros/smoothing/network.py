"""Runs the exported HPSTM network for the smoother: keeps the window, runs inference for one frame,
and converts the output to world coordinates.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.estimate import Estimate
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.runtime import Stream, open_stream

F64 = NDArray[np.float64]

J = len(JOINTS)
_EACH = np.arange(J)
INPUTS = ("points", "seen", "bones", "known", "lookahead")
OUTPUTS = ("positions", "rotations", "covariance", "bones_used")


class HpstmNetwork:
    """Maps a window of joint positions to an `Estimate` of the frame ``lookahead`` frames before
    the newest.

    Args:
        stream: the opened model.
        lookahead: frames, 0 to the model's maximum.

    Raises:
        PallasError: the model is not an HPSTM model, or does not support this look-ahead.
    """

    def __init__(self, stream: Stream, lookahead: int) -> None:
        if set(stream.inputs) != set(INPUTS) or set(stream.outputs) != set(OUTPUTS):
            raise PallasError(
                f"the model is not an HPSTM model: its inputs are {', '.join(stream.inputs)}; give"
                " one written by `pallas export`"
            )
        self._stream = stream
        self._frames = stream.inputs["points"][1]
        most = stream.inputs["lookahead"][1] - 1
        if not 0 <= lookahead <= most:
            raise PallasError(f"look-ahead of {lookahead} frames: this model supports 0 to {most}")
        self.lookahead = lookahead
        self._scale = _scales(stream.metadata, self._frames, most + 1, lookahead)
        self._ask = np.eye(most + 1, dtype=np.float32)[None, lookahead]
        self._window: deque[F64] = deque(maxlen=self._frames)

    def reset(self) -> None:
        """Discard the history."""
        self._window.clear()

    def push(self, points: F64, bones: F64 | None) -> Estimate | None:
        """Take points (22, 3) m, world, NaN if not seen; ``bones`` (22,) m if the lengths are
        fixed.

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
        origin = window[seen].mean(0)  # keeps float32 precise far from the origin
        out = self._stream.step(
            {
                "points": np.where(seen[..., None], window - origin, 0.0)[None],
                "seen": seen[None],
                "bones": np.zeros((1, J)) if bones is None else bones[None],
                "known": np.full((1, 1), bones is not None),
                "lookahead": self._ask,
            }
        )
        hidden = frames_hidden(seen, self.lookahead)
        covariance = (
            out["covariance"][0].astype(np.float64) * self._scale[hidden, _EACH, None, None]
        )
        bounded_by_bones(covariance, hidden > 0, out["bones_used"][0])
        # float32 errors are 1e-7 of the largest variance and could make the smallest one negative
        covariance += (1e-6 * np.trace(covariance, axis1=-2, axis2=-1) + 1e-10)[
            :, None, None
        ] * np.eye(3)
        return Estimate(
            positions=out["positions"][0] + origin,
            rotations=np.asarray(
                rotations.from_matrix(out["rotations"][0].astype(np.float64)), dtype=np.float64
            ),
            covariance=0.5 * (covariance + np.swapaxes(covariance, -1, -2)),
            bones=out["bones_used"][0].astype(np.float64),
        )


def frames_hidden(seen: NDArray[np.bool_], lookahead: int) -> NDArray[np.int64]:
    """Distance (..., 22) in frames from the one ``lookahead`` before the newest to the nearest in
    which each joint is seen, for windows ``seen`` (..., L, 22).

    0 if a joint is seen in no frame: then the estimator's format lacks it, and it is inferred from
    its neighbours, as in training.
    """
    frames = seen.shape[-2]
    away = np.abs(np.arange(frames) - (frames - 1 - lookahead))
    nearest = np.where(seen, away[:, None], frames).min(axis=-2)
    return np.asarray(np.where(nearest < frames, nearest, 0))


def bounded_by_bones(covariance: F64, hidden: NDArray[np.bool_], bones: F64) -> None:
    """Limit, in place, the covariance (..., 22, 3, 3) m^2 of hidden joints (..., 22) by their bone
    lengths ``bones`` (..., 22) m.

    Even if the direction of a bone is unknown, its end lies on a sphere around its parent, with a
    mean square distance of 2 l^2 between two points.
    """
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    most = trace.copy()
    for joint in np.flatnonzero(hidden.any(axis=tuple(range(hidden.ndim - 1)))):
        if joint:
            allowed = most[..., PARENTS[joint]] + 2 * bones[..., joint] ** 2
            most[..., joint] = np.where(
                hidden[..., joint], np.minimum(most[..., joint], allowed), most[..., joint]
            )
    covariance *= (most / np.maximum(trace, 1e-12))[..., None, None]


def _scales(document: Mapping[str, Any], frames: int, lookaheads: int, lookahead: int) -> F64:
    """Factors (frames, 22) of the covariance of joints, by the number of hidden frames; fitted on
    held-out motions for each release.
    """
    try:
        seen = (
            np.ones((lookaheads, J))
            if "covariance_scale" not in document
            else np.array(document["covariance_scale"], dtype=np.float64)
        )
        hidden = np.array(
            document.get("covariance_scale_hidden", np.ones((lookaheads, frames - 1))),
            dtype=np.float64,
        )
        scales = np.concatenate(
            (
                seen.reshape(lookaheads, J)[None, lookahead],
                np.broadcast_to(
                    hidden.reshape(lookaheads, frames - 1)[lookahead, :, None], (frames - 1, J)
                ),
            )
        )
    except (TypeError, ValueError, IndexError):
        scales = np.zeros(1)
    if not ((scales > 0.01) & (scales < 100)).all():
        raise PallasError(
            f"the model's covariance factors are not {lookaheads} x {J} and {lookaheads} x"
            f" {frames - 1} numbers from 0.01 to 100: calibrate it again"
        )
    return scales


def open_network(path: str | Path, backend: str = "auto", threads: int = 1) -> Stream:
    """Open a model file and warm it up; it is stateless, so several windows can share it.

    See `pallas_ros.runtime.open_stream`.
    """
    stream = open_stream(
        path, backend=backend, threads=threads, expect={"kind": "hpstm", "joints": list(JOINTS)}
    )
    stream.warm_up()
    return stream
