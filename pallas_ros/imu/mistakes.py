"""Detect common mistakes in wearing IMUs from the samples of still sensors, and describe them."""

from collections.abc import Mapping

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array
from pallas_ros.imu.sample import GRAVITY
from pallas_ros.imu.stillness import StillPose

UPSIDE_DOWN = float(np.radians(120.0))
"""Tilt from the documented mounting above which a sensor is reported as upside down."""

TILTED = float(np.radians(40.0))
"""Tilt above which the wearer is assumed not to stand in the requested pose."""

_DISAGREE = float(np.radians(20.0))
_UNEQUAL = float(np.radians(15.0))


def at_rest(poses: Mapping[str, StillPose]) -> list[str]:
    """Describe problems of the accelerations of sensors at rest, one sentence per site.

    Empty if all measure gravity, pointing up.
    """
    return [
        sentence
        for site, pose in poses.items()
        if (sentence := _acceleration(site, pose)) is not None
    ]


def _acceleration(site: str, pose: StillPose) -> str | None:
    g = pose.gravity
    if 0.8 <= g <= 1.25:
        return (
            f"{site}: acceleration is in g ({g:.2f} at rest, expected 9.81 m/s^2): set the sensor"
            " or its driver to m/s^2"
        )
    if g < 4.0:
        return (
            f"{site}: gravity has been removed from the acceleration already ({g:.2f} m/s^2 at"
            " rest, expected 9.81): send specific force, not free acceleration"
        )
    if abs(g - GRAVITY) > 1.5:
        return (
            f"{site}: acceleration reads {g:.2f} m/s^2 at rest, expected 9.81: check the sensor's"
            " range setting or factory calibration"
        )
    up = rotations.rotate(pose.q_ref_sensor, pose.acceleration) / g
    tilt = float(np.arccos(np.clip(up[2], -1.0, 1.0)))
    if tilt > np.pi - _DISAGREE:
        return (
            f"{site}: acceleration points down at rest: gravity has been removed twice, or its sign"
            " is reversed; specific force points up"
        )
    if tilt > _DISAGREE:
        return (
            f"{site}: orientation and acceleration disagree about where up is, by"
            f" {np.degrees(tilt):.0f} degrees: their axes are permuted, or the orientation is world"
            " to sensor"
        )
    return None


def worn(poses: Mapping[str, StillPose], q_world_sensor: Mapping[str, Array]) -> list[str]:
    """Describe sensors whose tilt does not match the requested pose.

    Args:
        poses: still pose of each sensor.
        q_world_sensor: site -> (4,) xyzw, orientation of the sensor in that pose when worn as
            documented.
    """
    found = []
    for site, pose in poses.items():
        tilt = _tilt(pose.q_ref_sensor, q_world_sensor[site])
        if tilt > UPSIDE_DOWN:
            found.append(
                f"{site}: the sensor is upside down: turn it over, its z axis must point up in the"
                " T-pose"
            )
        elif tilt > TILTED:
            what = (
                "hold the arm as instructed, palm down in the T-pose"
                if site.endswith("wrist")
                else "stand upright"
            )
            found.append(
                f"{site}: tilted {np.degrees(tilt):.0f} degrees from the expected orientation:"
                f" {what}, or correct the mounting of the sensor"
            )
    return found


def slips(angle: Mapping[str, float], about_z: Mapping[str, float]) -> list[str]:
    """Describe the first sensor that did not turn with the whole body.

    Args:
        angle: required site -> rad, how far it turned.
        about_z: optional site -> rad, how far it turned about z. Steps swing the legs, and the head
            may turn further, so that the tolerance is twice that of the required sites.
    """
    middle = float(np.median(list(angle.values())))
    most = max(0.25 * middle, _UNEQUAL)
    loose = [site for site, turned in angle.items() if abs(turned - middle) > most]
    loose += [site for site, turned in about_z.items() if abs(turned - middle) > 2 * most]
    if not loose:
        return []
    turned = np.degrees({**angle, **about_z}[loose[0]])
    return [
        (
            f"{loose[0]}: turned {turned:.0f} degrees while the others turned"
            f" {np.degrees(middle):.0f}: the sensor slips, or its gyroscope is wrong;"
            " turn again, with your arms at your sides"
        )
    ]


def _tilt(q_ref_sensor: Array, q_world_sensor: Array) -> float:
    """Angle in rad between the up directions, in the sensor frame, of the two orientations."""
    up = np.array([0.0, 0.0, 1.0])
    is_up = rotations.rotate(rotations.inverse(q_ref_sensor), up)
    should_be_up = rotations.rotate(rotations.inverse(q_world_sensor), up)
    return float(np.arccos(np.clip(is_up @ should_be_up, -1.0, 1.0)))
