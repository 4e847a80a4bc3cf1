"""A simulated gripper: driven joints move to their commands with limited speed, mimic joints
follow.
"""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import Gripper

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_FASTER = 1.5  # relative to the limit of commands, as a controller needs reserve to follow them


class SimulatedGripper:
    """A simulated gripper; times are ns of one clock."""

    def __init__(self, gripper: Gripper) -> None:
        """Start open and at rest."""
        self.gripper = gripper
        self.q = gripper.open.copy()
        self._points: list[tuple[int, F64]] = []
        self._time: int | None = None

    @property
    def joint_names(self) -> list[str]:
        """Driven joints, then mimic joints."""
        return [*self.gripper.joint_names, *(name for name, *_ in self.gripper.followers)]

    @property
    def positions(self) -> F64:
        """(K,) of `joint_names`, rad or m."""
        followers = [ratio * self.q[of] + offset for _, of, ratio, offset in self.gripper.followers]
        return np.concatenate((self.q, followers))

    def command(self, times: NDArray[np.int64], q: F64) -> None:
        """Take positions (K, m) of the driven joints at times (K,), which replace earlier ones."""
        self._points = list(zip(times.tolist(), q, strict=True))

    def advance(self, now: int) -> None:
        """Advance to ``now``."""
        seconds = 0.0 if self._time is None else min(max(now - self._time, 0) / _NS, 0.1)
        self._time = now
        if not self._points:
            return
        times = [time for time, _ in self._points]
        wanted = np.array(
            [
                np.interp(now, times, column)
                for column in zip(*(q for _, q in self._points), strict=True)
            ]
        )
        most = _FASTER * self.gripper.velocity * seconds
        self.q = self.q + np.clip(wanted - self.q, -most, most)
