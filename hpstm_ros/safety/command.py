"""The result of a supervisor tick: a command and the supervisor's state."""

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.motion import State

F64 = NDArray[np.float64]


class SupervisorState(enum.IntEnum):
    """Values as in `pallas/msg/SupervisorStatus`."""

    DISENGAGED = 0
    ALIGNING = 1
    TRACKING = 2
    HOLDING = 3
    STOPPED = 4


@dataclass(slots=True)
class Command:
    """The command of one tick.

    Attributes:
        time: ns, the instant of `q`.
        q, dq, ddq: (n,) commanded state at `time`, in rad, rad/s, rad/s^2.
        times: (K,) ns, of the points to send: the state before `time`, the one at `time`, and the
            braking trajectory after it.
        points: K states.
        send: False while the arm is at rest and disengaged or stopped, or its posture is unknown.
        state, reason: of the state machine.
        limited_by: the active limits.
        speed_scale: 0 to 1.
        tip_speed: m/s, of the fastest tip.
        deviation: rad, largest difference between measured and commanded joints; NaN without
            feedback.
        measurement_age: s, of the newest measurement of the operator's body; NaN before the first.
        delivery_lag: s, last measured delay of the arm behind its commands; NaN before the first.
    """

    time: int
    q: F64
    dq: F64
    ddq: F64
    times: NDArray[np.int64]
    points: list[State]
    send: bool
    state: SupervisorState
    reason: str
    limited_by: tuple[str, ...]
    speed_scale: float
    tip_speed: float
    deviation: float
    measurement_age: float = math.nan
    delivery_lag: float = math.nan


def sent_indices(index: int, end: int) -> list[int]:
    """Grid instants of the states to send: ``index``, the next one, and about six of the braking
    trajectory up to its ``end``.
    """
    stride = max(-(-(end - index - 1) // 6), 1)
    indices = [index, index + 1, *range(index + 1 + stride, end, stride)]
    if end > indices[-1]:
        indices.append(end)
    return indices


def nothing(now: int, joints: int, state: SupervisorState, reason: str) -> Command:
    """The empty command at ``now`` ns, while the arm's posture is unknown."""
    unknown = np.full(joints, math.nan)
    return Command(
        time=now,
        q=unknown,
        dq=unknown,
        ddq=unknown,
        times=np.zeros(0, dtype=np.int64),
        points=[],
        send=False,
        state=state,
        reason=reason,
        limited_by=(),
        speed_scale=0.0,
        tip_speed=math.nan,
        deviation=math.nan,
    )
