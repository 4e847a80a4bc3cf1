"""What the supervisor answers at a tick: a command, and the state it is in."""

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.motion import State

F64 = NDArray[np.float64]


class SupervisorState(enum.IntEnum):
    """Numbers as in `pallas/msg/SupervisorStatus`."""

    DISENGAGED = 0
    ALIGNING = 1
    TRACKING = 2
    HOLDING = 3
    STOPPED = 4


@dataclass(slots=True)
class Command:
    """What the arm is commanded at a tick.

    Attributes:
        time: ns, the instant of `q`.
        q, dq, ddq: (n,) where the arm should be then, in rad, rad/s, rad/s^2.
        times: (K,) ns, of the points to send: the state before `time`, `time` itself, and the stop
            after it.
        points: K states.
        send: False while the arm is disengaged or stopped and at rest, or before its posture is
            known.
        state, reason: of the state machine.
        limited_by: the limits that held this command back.
        speed_scale: 0 to 1.
        tip_speed: m/s, of the fastest tip.
        deviation: rad, the largest between measured and commanded joints; NaN without feedback.
        measurement_age: s, of the newest measurement of the operator's body; NaN before one.
        delivery_lag: s, by which the arm was last seen to be behind its commands; NaN before.
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
