"""Correct the headings at one instant, in any stance.

Gravity already determines every sensor's tilt, so only a rotation about z is sought. The wearer
looks and stands straight ahead, so the sensors of trunk, head and legs share one heading. A forearm
hangs (palm facing the thigh), points forward or points sideways; this is inferred from its tilt and
from the smallest change of heading. The same applies to upper arms.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, EXTRA_SITES, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.hinge import wrap
from pallas_ros.imu.steps import LEGS, N_POSE, TRUNK, UPPER_ARMS

STANCES = ("hanging", "forward", "sideways")
_STEEP = 0.8
"""Sine of an arm's inclination (53 degrees) above which its direction does not determine its
heading.
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """Rotation of a sensor's heading about z (rad), and the assumed stance."""

    angle: float
    assumed: str


def heading_turns(
    q_world_bone: Mapping[str, Array], site: str = "", stance: str = ""
) -> dict[str, Turn]:
    """Return the rotations that correct the headings.

    Args:
        q_world_bone: site -> (4,) xyzw, current estimates of the bones; sites without samples are
            omitted.
        site: the one to rotate, relative to the trunk's other sensor; empty: all, so that the
            wearer faces +x.
        stance: of the forearms, or of ``site``: one of `STANCES`, or empty: the one with the
            smallest rotation. If all are rotated, that of each upper arm is always inferred.

    Returns:
        Site -> rotation, for the rotated sites. If all are rotated, an upper arm whose heading
        cannot be determined is omitted, as are optional sites without samples.

    Raises:
        PallasError: an argument is unknown, a required sensor sends no samples, or a forearm's
            heading cannot be determined.
    """
    if site and site not in ALL_SITES:
        raise PallasError(f"unknown site '{site[:40]}': known are {', '.join(ALL_SITES)}")
    if stance and stance not in STANCES:
        raise PallasError(f"unknown stance '{stance[:40]}': known are {', '.join(STANCES)}")
    # determines where the wearer faces: the waist, or for the waist itself the neck
    reference = "neck" if site == "pelvis" else "pelvis"
    extra = tuple(name for name in EXTRA_SITES if name in q_world_bone)
    wanted = (site,) if site else (*SITES, *extra)
    silent = [name for name in (reference, *wanted) if name not in q_world_bone]
    if silent:
        raise PallasError(f"no samples of {silent[0]} at present: its heading is unknown")
    facing = float(rotations.heading(q_world_bone[reference]))
    ahead = facing if site else 0.0
    turns = {}
    for name in wanted:
        q = q_world_bone[name]
        if name in (*TRUNK, "head"):
            turns[name] = Turn(wrap(ahead - float(rotations.heading(q))), "straight ahead")
        elif name in LEGS:  # a bent leg tilts its bones about their y axis
            turns[name] = Turn(wrap(ahead - float(rotations.turn_about_z(q))), "straight ahead")
        else:
            try:
                own = "" if name in UPPER_ARMS and not site else stance
                angle, assumed = _arm(name, q, facing, own)
            except PallasError:
                if site or name not in UPPER_ARMS:
                    raise
                continue
            turns[name] = Turn(wrap(angle + ahead - facing), assumed)
    return turns


def _arm(site: str, q: Array, facing: float, stance: str) -> tuple[float, str]:
    """Return the rotation in rad of a forearm or upper arm about z, and the assumed stance."""
    left = site.startswith("left")
    part = "upper arm" if site in UPPER_ARMS else "forearm"
    along = rotations.rotate(q, np.array([0.0, 1.0 if left else -1.0, 0.0]))
    if site in UPPER_ARMS and along[2] < -_STEEP:
        stance = "hanging"  # the forearm may point forward nevertheless
    steep = abs(float(along[2])) > _STEEP
    if stance == "hanging" or (not stance and along[2] < -_STEEP):
        if along[2] > -_STEEP:
            raise PallasError(f"{site}: the {part} does not hang: let it hang, palm to the thigh")
        hanging = rotations.multiply(rotations.about_z(facing), N_POSE[site])
        off = rotations.multiply(q, rotations.inverse(hanging))
        return -float(rotations.turn_about_z(off)), "hanging, palm to the thigh"
    if steep:
        raise PallasError(
            f"{site}: the {part} points {'up' if along[2] > 0 else 'down'}, so its heading is"
            " undefined: hold it level, forward or sideways, or let it hang"
        )
    points = float(np.arctan2(along[1], along[0]))
    side = np.pi / 2 if left else -np.pi / 2
    ways = {"forward": facing, "sideways": facing + side}
    angles = {name: wrap(to - points) for name, to in ways.items() if stance in ("", name)}
    nearest = min(angles, key=lambda name: abs(angles[name]))
    return angles[nearest], nearest


def describe_turns(turns: Mapping[str, Turn]) -> str:
    """Describe the rotations and the assumed stances in one sentence."""
    return "heading reset: " + ", ".join(
        f"{site} by {np.degrees(turn.angle):+.0f} degrees ({turn.assumed})"
        for site, turn in turns.items()
    )
