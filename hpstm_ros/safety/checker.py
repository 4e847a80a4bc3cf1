"""Independent check of emitted commands against all limits.

The checker shares only the limits and the robot model with the supervisor. Derivatives are divided
differences of the commanded positions. By the mean value theorem, ``k! [t0 ... tk] q`` equals the
k-th derivative somewhere between the points, so a trajectory within limits never fails the check,
and a step in position, velocity or acceleration always does. Spacing may be uneven. The commanded
velocities and accelerations (used by a controller to interpolate) must be consistent with a single
jerk-limited motion.
"""

from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.safety.limits import Limits

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

TOLERANCE = 1e-4
"""Relative; far above the rounding error of float64 points at 125 Hz."""


@dataclass(frozen=True)
class Violation:
    """An exceeded limit: its name, the time in ns, the value and the allowed value."""

    limit: str
    stamp: int
    value: float
    allowed: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.limit} at {self.stamp / 1e9:.4f} s: {self.value:.6g} against {self.allowed:.6g}"
        )


def executed(messages: list[tuple[I64, F64]]) -> tuple[I64, F64]:
    """The trajectory that a controller executes: each message (times (K,) ns, points (K, ...))
    replaces earlier points from its first time on.

    Returns:
        times (N,) ns, strictly increasing, and points (N, ...).
    """
    times: list[int] = []
    points: list[F64] = []
    for stamps, q in messages:
        while times and times[-1] >= stamps[0]:
            times.pop()
            points.pop()
        times.extend(int(stamp) for stamp in stamps)
        points.extend(q)
    return np.array(times, dtype=np.int64), np.array(points, dtype=np.float64)


def check(times: I64, q: F64, limits: Limits, tolerance: float = TOLERANCE) -> list[Violation]:
    """Violations of position, velocity, acceleration and jerk limits, and non-finite values, in
    commands q (N, n) at times (N,) ns.
    """
    if len(times) and (np.diff(times) <= 0).any():
        return [Violation("time:order", int(times[1:][np.diff(times) <= 0][0]), 0.0, 0.0)]
    if not np.isfinite(q).all():
        bad = int(np.argmax(~np.isfinite(q).all(1)))
        return [Violation("finite", int(times[bad]), float("nan"), 0.0)]
    found: list[Violation] = []
    span = limits.upper - limits.lower
    beyond = np.maximum(q - limits.upper, limits.lower - q) / span
    found += _collect("position", times, beyond, np.full(len(span), 0.0), tolerance * 1e-2, limits)
    seconds = (times - (times[0] if len(times) else 0)) * 1e-9
    difference = q
    factorial = 1.0
    for order, (name, bound) in enumerate(
        (
            ("velocity", limits.velocity),
            ("acceleration", limits.acceleration),
            ("jerk", limits.jerk),
        ),
        1,
    ):
        if len(times) <= order:
            break
        factorial *= order
        difference = np.diff(difference, axis=0) / (seconds[order:] - seconds[:-order])[:, None]
        found += _collect(
            name, times[order:], np.abs(difference) * factorial, bound, tolerance, limits
        )
    return found


def check_states(
    times: I64, states: F64, limits: Limits, tolerance: float = TOLERANCE
) -> list[Violation]:
    """Violations of consistency between positions, velocities and accelerations, states (N, 3, n):
    they must belong to one motion within the limits.

    With jerk up to J, over a time h: ``|a1 - a0| <= J h``. The error of the trapezoidal rule is at
    most ``J h^2 / 4`` for accelerations and ``J h^3 / 12`` for velocities.
    """
    q = states[:, 0]
    dq = states[:, 1]
    ddq = states[:, 2]
    if not np.isfinite(states).all():
        return [
            Violation(
                "finite",
                int(times[int(np.argmax(~np.isfinite(states).all((1, 2))))]),
                float("nan"),
                0.0,
            )
        ]
    found = _collect("stated velocity", times, np.abs(dq), limits.velocity, tolerance, limits)
    found += _collect(
        "stated acceleration", times, np.abs(ddq), limits.acceleration, tolerance, limits
    )
    if len(times) > 1:
        h = np.diff(times)[:, None] * 1e-9
        later = times[1:]
        change = np.abs(np.diff(ddq, axis=0)) / h
        found += _collect("stated jerk", later, change, limits.jerk, tolerance, limits)
        for name, value, slope, share in (
            ("velocity against acceleration", dq, ddq, h / 4),
            ("position against velocity", q, dq, h**2 / 12),
        ):
            off = np.maximum(
                np.abs(np.diff(value, axis=0) / h - (slope[1:] + slope[:-1]) / 2) - 1e-8 / h, 0.0
            )
            found += _collect(name, later, off / share, limits.jerk, tolerance, limits)
    return found


def check_tips(
    times: I64,
    q: F64,
    model: pin.Model,
    tips: list[int],
    limits: Limits,
    tip_speed: float | F64 | None = None,
    tolerance: float = 1e-3,
) -> list[Violation]:
    """Violations of tip speed and workspace box, by the checker's own forward kinematics.

    ``tips`` are frame ids; ``tip_speed`` in m/s is one number, or the limit at each time (N,).
    """
    data = model.createData()
    positions = np.empty((len(q), len(tips), 3))
    for row, posture in enumerate(q):
        pin.framesForwardKinematics(model, data, posture)
        positions[row] = [data.oMf[tip].translation for tip in tips]
    allowed = np.broadcast_to(
        np.asarray(limits.tip_speed if tip_speed is None else tip_speed), len(q)
    )
    found: list[Violation] = []
    if len(times) > 1:
        speed = (
            np.linalg.norm(np.diff(positions, axis=0), axis=2) / (np.diff(times) * 1e-9)[:, None]
        )
        slow = speed <= allowed[1:, None] * (1 + tolerance)  # False for NaN, here and below
        for row in np.flatnonzero(~slow.all(1)).tolist():
            found.append(
                Violation(
                    "tip_speed",
                    int(times[row + 1]),
                    float(speed[row].max()),
                    float(allowed[row + 1]),
                )
            )
    depth = (
        np.maximum(positions - limits.box_max, limits.box_min - positions).max((1, 2))
        if len(q)
        else np.zeros(0)
    )
    # a start outside the box is allowed; moving farther out is not
    worst = np.fmax(depth[:1], 0.0)
    for row in np.flatnonzero(~(depth <= worst[:1] + 1e-6)).tolist() if len(depth) else []:
        found.append(Violation("workspace", int(times[row]), float(depth[row]), 0.0))
    return found


def check_collisions(
    times: I64, q: F64, model: pin.Model, geometry: pin.GeometryModel, every: int = 4
) -> list[Violation]:
    """Collisions of pairs in ``geometry``, checked at every ``every``-th command."""
    data = model.createData()
    geometry_data = geometry.createData()
    found = []
    for row in range(0, len(q), every):
        hit = pin.computeCollisions(model, data, geometry, geometry_data, q[row], True)
        known = all(np.isfinite(pose.translation).all() for pose in geometry_data.oMg)
        if hit or not known:
            found.append(Violation("collision", int(times[row]), 0.0, 0.0))
    return found


def _collect(
    name: str, times: I64, values: F64, bound: F64, tolerance: float, limits: Limits
) -> list[Violation]:
    """The worst violation of each joint."""
    excess = values - bound * (1 + tolerance) - (tolerance if not bound.any() else 0.0)
    found = []
    for joint in np.flatnonzero(~(excess <= 0).all(0)):
        row = int(np.argmax(excess[:, joint]))
        found.append(
            Violation(
                f"{name}:{limits.joint_names[joint]}",
                int(times[row]),
                float(values[row, joint]),
                float(bound[joint]),
            )
        )
    return found
