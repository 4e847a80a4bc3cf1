"""Control of a gripper by a trigger or button of a joystick (`sensor_msgs/Joy`)."""

import math
import re
from collections.abc import Sequence

from pallas_ros.body.errors import PallasError

_FORM = re.compile(r"(axis|button):(\d{1,3})")


class GripperTrigger:
    """``axis:N``: closes in proportion; ``button:N``: closes while pressed."""

    def __init__(self, text: str, released: float = 1.0, pressed: float = -1.0) -> None:
        """``released`` and ``pressed`` are the values of an axis at its ends: 1 and -1 on most
        gamepads.

        Raises:
            PallasError: ``text`` has neither form, or the ends are equal.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise PallasError(f"a trigger is axis:N or button:N, not '{text[:40]}'")
        if not abs(released - pressed) > 1e-3:
            raise PallasError(
                "a trigger must read differently when it is released and when it is pressed"
            )
        self._axis = found[1] == "axis"
        self._number = int(found[2])
        self._released = released
        self._pressed = pressed
        self._touched = False

    def opening(self, axes: Sequence[float], buttons: Sequence[int]) -> float | None:
        """The opening, from 0 (pressed) to 1 (released), or None if unknown.

        Drivers report 0 for a trigger that was never touched, which would be half pressed on an
        axis from 1 to -1. The opening is therefore unknown until the axis has a different value.
        """
        values = axes if self._axis else buttons
        if self._number >= len(values):
            return None
        value = float(values[self._number])
        if not math.isfinite(value):
            return None
        if not self._axis:
            return 0.0 if value else 1.0
        self._touched |= value != 0.0
        if not self._touched:
            return None
        share = (value - self._pressed) / (self._released - self._pressed)
        return min(max(share, 0.0), 1.0)
