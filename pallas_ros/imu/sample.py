"""One measurement of one sensor, with the semantics of a raw `sensor_msgs/Imu` (REP-145), and its
validity check.
"""

import math
from dataclasses import dataclass

from pallas_ros.body.rotations import Array

GRAVITY = 9.80665
"""Standard gravity, m/s^2."""

MAX_ACCELERATION = 16.0 * GRAVITY
"""Largest plausible acceleration, m/s^2: the full scale of wearable sensors."""

UNIT_TOLERANCE = 0.03
"""Tolerance of the norm of an orientation quaternion; 16-bit protocols round by less than 0.001."""


@dataclass(slots=True)
class ImuSample:
    """One measurement.

    Attributes:
        stamp: ns, in the node's clock.
        orientation: (4,) xyzw, sensor to the sensor's own world (z up, heading arbitrary), or None
            if the sensor has none.
        acceleration: (3,) m/s^2, specific force in the sensor frame: at rest about +9.81 along the
            axis that points up.
        angular_velocity: (3,) rad/s in the sensor frame, or None.
        magnetic_field: (3,) in the sensor frame, any unit, or None.
        temperature: degrees Celsius, or None.
    """

    stamp: int
    orientation: Array | None
    acceleration: Array
    angular_velocity: Array | None = None
    magnetic_field: Array | None = None
    temperature: float | None = None


def flaw(orientation: Array, acceleration: Array) -> str | None:
    """Return why a measurement is invalid, or None.

    The reason is "not finite", "quaternion not of unit length" or "acceleration over 16 g".

    Args:
        orientation: (4,) xyzw.
        acceleration: (3,) m/s^2, with or without gravity.
    """
    x, y, z, w = orientation.tolist()
    ax, ay, az = acceleration.tolist()
    length_squared = x * x + y * y + z * z + w * w
    acceleration_squared = ax * ax + ay * ay + az * az
    if not (math.isfinite(length_squared) and math.isfinite(acceleration_squared)):
        return "not finite"
    if abs(math.sqrt(length_squared) - 1.0) > UNIT_TOLERANCE:
        return "quaternion not of unit length"
    if acceleration_squared > MAX_ACCELERATION * MAX_ACCELERATION:
        return "acceleration over 16 g"
    return None
