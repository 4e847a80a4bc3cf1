"""Detects typical failures of pose estimators before smoothing: swapped sides, jumps to another
person, outliers of single joints.

Each frame is compared with the prediction of a constant-acceleration Kalman filter. Rejected joints
are marked missing, and the smoother bridges them. After repeated rejection they are accepted, since
then the prediction is wrong.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.filters import Kalman
from pallas_ros.body.names import JOINT_INDEX, MIRROR

F64 = NDArray[np.float64]

_MIRROR = np.array(MIRROR)
_PAIRED = np.arange(len(_MIRROR)) != _MIRROR
_LIMBS = np.array(
    [
        JOINT_INDEX[f"{side}_{part}"]
        for side in ("left", "right")
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    ]
)


@dataclass(frozen=True)
class GateSettings:
    """Thresholds of the gate.

    Attributes:
        jump: m, median distance of the joints from their prediction above which the whole body is
            rejected.
        outlier: m, distance above which a single joint is rejected (if also above ``outlier_sigma``
            of the filter's uncertainty).
        outlier_sigma: standard deviations.
        swap_ratio: the sides count as swapped if swapping them reduces the median distance by this
            factor.
        swap_least: m, minimum median distance for that.
        patience: frames after which a rejected jump or joint is accepted.
        swap_patience: frames after which swapped sides are accepted; fewer if the body had fewer
            frames before the swap, since the first frames may be the wrong ones.
        blind: frames without any joint after which the prediction is discarded, since the
            extrapolated acceleration is no longer valid.
    """

    jump: float = 0.40
    outlier: float = 0.12
    outlier_sigma: float = 5.0
    swap_ratio: float = 0.4
    swap_least: float = 0.07
    patience: int = 15
    swap_patience: int = 60
    blind: int = 9


class Gate:
    """See the module's docstring. One per body.

    Attributes:
        counts: number of failures, by name.
        restarted: True after a frame was accepted against the prediction, so the history is
            obsolete.
    """

    def __init__(self, settings: GateSettings = GateSettings()) -> None:
        self._s = settings
        self.counts = {
            "sides exchanged": 0,
            "jump refused": 0,
            "joint refused": 0,
            "restarted": 0,
        }
        self.forget()

    def forget(self) -> None:
        """Discard the prediction and start again with the next frame."""
        self._filter = Kalman(process=60.0, measurement=0.015)
        self._frames = self._jumped = self._swapped = self._blind = 0
        self._off = np.zeros(len(_MIRROR), dtype=np.int64)
        self.restarted = False

    def push(self, points: F64) -> tuple[F64, list[str]]:
        """Take points (22, 3) m, NaN if not seen; returns them corrected or marked missing, and
        remarks.
        """
        self.restarted = False
        remarks: list[str] = []
        seen = np.asarray(np.isfinite(points).all(axis=-1))
        self._blind = 0 if seen.any() else self._blind + 1
        if self._blind > self._s.blind:
            self.forget()
        if self._frames >= 3 and seen.any():
            expected, sigma = self._filter.predict()
            points, seen = self._sides(points, seen, expected, remarks)
            points, seen = self._jump(points, seen, expected, remarks)
            if not self.restarted:
                points = self._outliers(points, seen, expected, sigma, remarks)
        self._filter.push(points)
        self._frames += bool(seen.any())
        return points, remarks

    def _sides(
        self, points: F64, seen: NDArray[np.bool_], expected: F64, remarks: list[str]
    ) -> tuple[F64, NDArray[np.bool_]]:
        both = seen & seen[_MIRROR] & _PAIRED
        both = both & np.isin(np.arange(len(both)), _LIMBS)
        if both.sum() < 4:
            return points, seen
        as_is = float(np.median(np.linalg.norm(points - expected, axis=-1)[both]))
        exchanged = float(np.median(np.linalg.norm(points[_MIRROR] - expected, axis=-1)[both]))
        if as_is < exchanged:
            self._swapped = 0
        if as_is < self._s.swap_least or exchanged > self._s.swap_ratio * as_is:
            return points, seen
        self._swapped += 1
        if self._swapped > min(self._s.swap_patience, self._frames - self._swapped + 1):
            self._accept("left and right stay swapped: accepted", remarks)
            return points, seen
        self.counts["sides exchanged"] += 1
        remarks.append("left and right swapped: corrected")
        return points[_MIRROR], seen[_MIRROR]

    def _jump(
        self, points: F64, seen: NDArray[np.bool_], expected: F64, remarks: list[str]
    ) -> tuple[F64, NDArray[np.bool_]]:
        distance = float(np.median(np.linalg.norm(points - expected, axis=-1)[seen]))
        if self.restarted or distance < self._s.jump:
            self._jumped = 0
            return points, seen
        self._jumped += 1
        if self._jumped > self._s.patience:
            self._accept(f"body moved {distance:.1f} m and stayed there: restarted", remarks)
            return points, seen
        self.counts["jump refused"] += 1
        remarks.append(f"body jumped {distance:.1f} m: frame refused")
        return np.full_like(points, np.nan), np.zeros_like(seen)

    def _outliers(
        self, points: F64, seen: NDArray[np.bool_], expected: F64, sigma: F64, remarks: list[str]
    ) -> F64:
        distance = np.linalg.norm(np.where(seen[:, None], points - expected, 0.0), axis=-1)
        off = seen & (distance > np.maximum(self._s.outlier, self._s.outlier_sigma * sigma))
        self._off = np.where(off, self._off + 1, np.where(seen, 0, self._off))
        off &= self._off <= self._s.patience
        if not off.any():
            return points
        self.counts["joint refused"] += int(off.sum())
        return np.where(off[:, None], np.nan, points)

    def _accept(self, why: str, remarks: list[str]) -> None:
        self.forget()
        self.restarted = True
        self.counts["restarted"] += 1
        remarks.append(why)
