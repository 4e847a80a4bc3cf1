"""Euler angles, for protocols that send no quaternion."""

import math

from pallas_ros.imu.protocols.base import Quaternion


def quaternion_from_euler(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Return the quaternion (xyzw) of intrinsic rotations about z (yaw), y, then x; rad."""
    cr = math.cos(roll / 2)
    sr = math.sin(roll / 2)
    cp = math.cos(pitch / 2)
    sp = math.sin(pitch / 2)
    cy = math.cos(yaw / 2)
    sy = math.sin(yaw / 2)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def euler_from_quaternion(orientation: Quaternion) -> tuple[float, float, float]:
    """Return roll, pitch, yaw in rad of a quaternion xyzw; inverse of `quaternion_from_euler`."""
    x, y, z, w = orientation
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return roll, pitch, yaw
