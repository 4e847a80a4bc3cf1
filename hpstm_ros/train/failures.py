"""Typical failures of pose estimators, one at a time and at known frames, so that recovery
times can be measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.train.trials import Trial
from pallas_ros.body.names import JOINT_INDEX, MIRROR

F64 = NDArray[np.float64]

FIRST = 60
EVERY = 60
"""First frame of the first failure in a trial, and interval between failures in frames."""

_ARM = [JOINT_INDEX[f"right_{part}"] for part in ("shoulder", "elbow", "wrist")]
_WRIST = [JOINT_INDEX["right_wrist"]]


@dataclass(frozen=True)
class Failure:
    """A failure of some joints for some frames: ``spoil`` maps noisy positions (n, 22, 3) m to
    corrupted ones.
    """

    frames: int
    joints: tuple[int, ...]
    spoil: Callable[[F64], F64]


def _missing(joints: list[int]) -> Callable[[F64], F64]:
    def spoil(points: F64) -> F64:
        out = points.copy()
        out[:, joints] = np.nan
        return out

    return spoil


def _shift(joints: list[int], by: tuple[float, float, float]) -> Callable[[F64], F64]:
    def spoil(points: F64) -> F64:
        out = points.copy()
        out[:, joints] += np.array(by)
        return out

    return spoil


_ALL = list(range(len(MIRROR)))

FAILURES: dict[str, Failure] = {
    "spike": Failure(1, tuple(_WRIST), _shift(_WRIST, (0.0, 0.15, 0.2))),
    "outlier_100ms": Failure(6, tuple(_WRIST), _shift(_WRIST, (0.0, 0.15, 0.2))),
    "arm_occluded_250ms": Failure(15, tuple(_ARM), _missing(_ARM)),
    "body_gone_100ms": Failure(6, tuple(_ALL), _missing(_ALL)),
    "body_gone_500ms": Failure(30, tuple(_ALL), _missing(_ALL)),
    "sides_exchanged_50ms": Failure(3, tuple(_ALL), lambda points: points[:, list(MIRROR)]),
    "other_person_50ms": Failure(3, tuple(_ALL), _shift(_ALL, (0.8, 0.6, 0.0))),
}


def spoil(trial: Trial, failure: Failure) -> tuple[F64, list[int]]:
    """The noisy motion (T, 22, 3) m with one failure per second, and the first frame of each."""
    out = trial.noisy.copy()
    starts = list(range(FIRST, len(trial) - failure.frames - 30, EVERY))
    for start in starts:
        out[start : start + failure.frames] = failure.spoil(out[start : start + failure.frames])
    return out, starts


def aftermath(
    estimated: F64, truth: F64, usual_m: float, failure: Failure, starts: list[int]
) -> tuple[float, float]:
    """Effect of a failure on an estimate (T, 22, 3) m: worst mean error of the affected joints in
    mm, and recovery time in frames.

    The recovery time is counted from the last frame of the failure until the error is below 1.5
    times ``usual_m``, the mean error of the method.
    """
    error = np.linalg.norm(estimated - truth, axis=-1)[:, list(failure.joints)].mean(-1)
    worst = []
    frames = []
    for start in starts:
        after = error[start : start + failure.frames + 30]
        worst.append(float(after.max()))
        calm = after[failure.frames - 1 :] < 1.5 * usual_m
        frames.append(int(np.argmax(calm)) if calm.any() else len(calm))
    return 1e3 * float(np.mean(worst)), float(np.mean(frames))
