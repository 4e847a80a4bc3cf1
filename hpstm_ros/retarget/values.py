"""Validation of single values of a robot's configuration."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

_LARGEST = 1e6
"""Upper bound of lengths, angles, speeds, accelerations and jerks; larger values make sums
overflow.
"""


def only(entry: Any, keys: set[str], what: str) -> None:
    """Check that ``entry`` is a mapping with known keys.

    Raises:
        PallasError: it is not.
    """
    if not isinstance(entry, dict):
        raise PallasError(f"{what} must be a mapping")
    for key in entry:
        if key not in keys:
            raise PallasError(
                f"{what} has an unknown key '{key}'; known are {', '.join(sorted(keys))}"
            )


def number(value: Any, low: float, high: float, what: str) -> float:
    """Return ``value`` as a finite number from ``low`` to ``high``.

    Raises:
        PallasError: it is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise PallasError(f"{what} is {shown(value)}, but must be a number from {low} to {high}")
    return float(value)


def vector(value: Any, n: int, what: str) -> F64:
    """Return ``value`` as ``n`` numbers (n,); a single number is repeated.

    Raises:
        PallasError: it is neither a number nor a list of ``n`` numbers.
    """
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
    """The rotation matrix of roll, pitch, yaw in degrees."""
    return np.array(pin.rpy.rpyToMatrix(np.deg2rad(vector(degrees, 3, what))))


def shown(value: Any) -> str:
    """A value for a message, truncated to a line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def some(names: Iterable[str]) -> str:
    """The first of many names, for a message."""
    known = list(names)
    return ", ".join(name[:40] for name in known[:30]) + (", ..." if len(known) > 30 else "")
