"""What the viewer shows at an instant, and where it comes from: a motion file or a bag. (Live: `pallas_ros.nodes.live`.)"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.motion import load_motion
from pallas_ros.view.measure import Curve, measure

F64 = NDArray[np.float64]


@dataclass
class Moment:
    """One instant.

    Attributes:
        time: s.
        body: (22, 7) positions in m and orientations xyzw, world, or None.
        raw: the same before smoothing, or None.
        covariance: (22, 3, 3) m^2 of ``body``, or None.
        joints: the arm's joint angles in rad by name.
        plots: figures to plot, by name.
        words: what is to be read: the supervisor's state, remarks.
    """

    time: float
    body: F64 | None = None
    raw: F64 | None = None
    covariance: F64 | None = None
    joints: dict[str, float] = field(default_factory=dict)
    plots: dict[str, float] = field(default_factory=dict)
    words: str = ""


class Recording(Protocol):
    """Something with a beginning and an end."""

    duration: float
    robot: str

    def at(self, time: float) -> Moment:
        """The instant ``time`` s after the beginning."""
        ...


class MotionFile:
    """A motion file as a recording."""

    def __init__(self, path: Path) -> None:
        """Read it; raises `PallasError` as `load_motion` does."""
        self._motion = load_motion(path)
        self.duration, self.robot = max(self._motion.duration, 1e-3), ""

    def at(self, time: float) -> Moment:
        """The frame at ``time`` s."""
        motion = self._motion
        index = int(np.clip(round(time * motion.fps), 0, len(motion) - 1))
        covariance = None if motion.position_covariance is None else motion.position_covariance[index]
        good = motion.valid is None or bool(motion.valid[index])
        body = np.concatenate((motion.positions[index], motion.rotations[index]), axis=1)
        return Moment(time, body, covariance=covariance, words="" if good else "this frame is not valid")


class BagFile:
    """A bag as a recording; of a session over about 50 s every other body and joint state is kept, over 100 s every fourth, and so on."""

    def __init__(self, path: Path) -> None:
        """Read it; raises `PallasError` as `measure` does."""
        self._session = measure(path)
        self.duration, self.robot = max(self._session.duration, 1e-3), self._session.robot

    def at(self, time: float) -> Moment:
        """What had come in by ``time`` s."""
        session = self._session
        joints = _last(session.joints, time)
        state = _last(session.state, time)
        confidence = _last(session.confidence, time)
        latency = _last(session.latency_ms["command"], time) if "command" in session.latency_ms else None
        plots = {} if confidence is None else {"confidence": float(confidence[0])}
        if latency is not None:
            plots["latency, ms"] = float(latency)
        angles = {} if joints is None else dict(zip(session.joint_names, joints.tolist()))
        said = [what for when, what in session.events if time - 2 <= when <= time]
        words = "\n".join(said[-4:])
        if state is not None:
            words = f"supervisor state {int(state[0])}, speed scale {state[1]:.2f}\n{words}"
        return Moment(
            time,
            _last(session.bodies, time),
            _last(session.raw, time),
            _last(session.covariances, time),
            angles,
            {**plots, **angles},
            words,
        )


def _last(curve: Curve, time: float) -> F64 | None:
    """The curve's last value at or before ``time``; None before its first."""
    index = int(np.searchsorted(curve.times, time, side="right")) - 1
    return None if index < 0 else np.asarray(curve.values[index], dtype=float)
