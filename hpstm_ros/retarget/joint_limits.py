"""Limits of the moving joints: those of the URDF, or of the configuration if stricter."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget import values
from hpstm_ros.retarget.tree import Joint
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

DEFAULT_ACCELERATION = 5.0
DEFAULT_JERK = 100.0
ENDLESS_RAD = 150 * 2 * math.pi
"""Range of a continuous joint in each direction: a finite number for the arithmetic, larger than an
operator can reach.
"""

_MOST_RAD = 4 * math.pi  # at most two turns; larger limits are in degrees, or mean "no limit"
# rad/s, m/s: upper bounds for the joints of an arm
_FASTEST = {
    "revolute": 40.0,
    "continuous": 40.0,
    "prismatic": 5.0,
}
_USUAL = {"revolute": 1.0, "continuous": 1.0, "prismatic": 0.25}  # rad/s, m/s


class Limiter:
    """The moving joints of a robot and their limits in the URDF."""

    def __init__(self, joints: list[Joint]) -> None:
        """``joints`` are in the order of the model."""
        self.joints = joints
        self.names = [joint.name for joint in joints]
        self.continuous = np.array([joint.kind == "continuous" for joint in joints], dtype=bool)
        self.remarks: list[str] = []

    def span(self, limits: dict[str, F64]) -> tuple[F64, F64]:
        """Lower and upper ends (n,) of distinct postures: one turn for a joint that can turn many
        times.
        """
        lower = limits["lower"]
        upper = limits["upper"]
        round_and_round = self.continuous & (upper - lower > 2 * math.pi)
        return np.where(round_and_round, -math.pi, lower), np.where(round_and_round, math.pi, upper)

    def velocity(self, stated_elsewhere: bool) -> F64:
        """(n,) the URDF's velocity limits, or typical ones if they are placeholders, with a remark
        unless they are ``stated_elsewhere``.
        """
        stated = np.array([joint.velocity for joint in self.joints])
        most = np.array([_FASTEST[joint.kind] for joint in self.joints])
        usual = np.array([_USUAL[joint.kind] for joint in self.joints])
        for wrong, what in (
            (stated <= 0, "no velocity limit"),
            (stated > most, "an implausible velocity limit of {:g}"),
        ):
            if wrong.any() and not stated_elsewhere:
                first = int(np.argmax(wrong))
                self.remarks.append(
                    f"{self._of(wrong)} {what.format(stated[first])}: {usual[first]:g} is taken;"
                    " set limits.velocity in a configuration (pallas retarget --describe)"
                )
        return np.where((stated <= 0) | (stated > most), usual, stated)

    def check_range(self, lower: F64, upper: F64) -> None:
        """Reject limits whose range is empty or too large.

        Args:
            lower, upper: (n,) rad, or m for prismatic joints.

        Raises:
            PallasError: a range is invalid; the message names the joint.
        """
        hinge = np.array([joint.kind == "revolute" for joint in self.joints])
        far = hinge & (np.maximum(np.abs(lower), np.abs(upper)) > _MOST_RAD)
        if far.any():
            joint = self.joints[int(np.argmax(far))]
            raise PallasError(
                f"{self._of(far)} limits of {joint.lower:g} and {joint.upper:g} rad, or"
                f" {joint.upper / (2 * math.pi):.3g} turns: if they are degrees, write"
                f" {math.radians(joint.lower):.4g} and {math.radians(joint.upper):.4g}; if the"
                ' joint is unlimited, make it type="continuous"'
            )
        tight = lower >= upper
        if tight.any():
            joint = self.joints[int(np.argmax(tight))]
            unit = "m" if joint.kind == "prismatic" else "rad"
            raise PallasError(
                f"{self._of(tight)} an empty range from {joint.lower:g} to {joint.upper:g} {unit}:"
                " correct the <limit>, or make the joint fixed"
            )

    def _of(self, which: NDArray[np.bool_]) -> str:
        """The name of the first selected joint, the number of others, and "has" or "have"."""
        first = self.names[int(np.argmax(which))]
        count = int(which.sum())
        if count == 1:
            return f"joint '{first[:80]}' has"
        others = "1 other" if count == 2 else f"{count - 1} others"
        return f"joint '{first[:80]}' and {others} have"


def moving_limits(limiter: Limiter, entry: dict[str, Any]) -> dict[str, F64]:
    """Limits of the moving joints, (n,) each, in rad and s: lower, upper, velocity, acceleration,
    jerk.

    Raises:
        PallasError: a value is invalid, or a joint's range is empty or cannot be in rad.
    """
    values.only(entry, {"margin", "velocity", "acceleration", "jerk", "lower", "upper"}, "'limits'")
    n = len(limiter.joints)
    margin = values.number(entry.get("margin", 0.01), 0.0, 0.5, "limits margin")
    lower = np.array([joint.lower for joint in limiter.joints]) + margin
    upper = np.array([joint.upper for joint in limiter.joints]) - margin
    lower[limiter.continuous] = -ENDLESS_RAD
    upper[limiter.continuous] = ENDLESS_RAD
    velocity = limiter.velocity("velocity" in entry)
    if "velocity" in entry:
        given = values.vector(entry["velocity"], n, "limits velocity")
        stated = np.array([joint.velocity for joint in limiter.joints])
        velocity = np.minimum(np.where(stated > 0, stated, np.inf), given)
    if "lower" in entry:
        lower = np.maximum(lower, values.vector(entry["lower"], n, "limits lower"))
    if "upper" in entry:
        upper = np.minimum(upper, values.vector(entry["upper"], n, "limits upper"))
    limiter.check_range(lower, upper)
    acceleration = values.vector(
        entry.get("acceleration", DEFAULT_ACCELERATION), n, "limits acceleration"
    )
    jerk = values.vector(entry.get("jerk", DEFAULT_JERK), n, "limits jerk")
    if min(velocity.min(), acceleration.min(), jerk.min()) <= 0:
        raise PallasError("limits of velocity, acceleration and jerk must be above 0")
    return {
        "lower": lower,
        "upper": upper,
        "velocity": velocity,
        "acceleration": acceleration,
        "jerk": jerk,
    }
