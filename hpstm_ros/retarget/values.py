"""Values of a robot's configuration, checked one by one."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

_LARGEST = 1e6
"""No length, angle, speed, acceleration or jerk of a robot is beyond this; what is larger makes
later sums overflow.
"""


def only(entry: Any, keys: set[str], what: str) -> None:
    """Refuse what is not a mapping, and keys that nobody reads."""
    if not isinstance(entry, dict):
        raise PallasError(f"{what} must be a mapping")
    for key in entry:
        if key not in keys:
            raise PallasError(
                f"{what} has an unknown key '{key}'; known are {', '.join(sorted(keys))}"
            )


def number(value: Any, low: float, high: float, what: str) -> float:
    """A finite number within a range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise PallasError(f"{what} is {shown(value)}, but must be a number from {low} to {high}")
    return float(value)


def vector(value: Any, n: int, what: str) -> F64:
    """``n`` numbers; a single one stands for all."""
    try:
        out = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        out = np.array(np.nan)
    if out.shape == ():
        out = np.full(n, float(out))
    if out.shape != (n,) or not (np.abs(out) <= _LARGEST).all():
        raise PallasError(f"{what} is {shown(value)}, but must be {n} numbers within ±{_LARGEST:g}")
    return out


def rotation(degrees: Any, what: str) -> F64:
    """Roll, pitch, yaw in degrees to a rotation matrix."""
    return np.array(pin.rpy.rpyToMatrix(np.deg2rad(vector(degrees, 3, what))))


def shown(value: Any) -> str:
    """A value as it appears in a message: not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def some(names: Iterable[str]) -> str:
    """The first names of many, for a message."""
    known = list(names)
    return ", ".join(name[:40] for name in known[:30]) + (", ..." if len(known) > 30 else "")
