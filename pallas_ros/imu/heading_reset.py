"""Headings set right at one instant, in any stance: gravity already gives every sensor's tilt, so
only a turn about z is sought.

The wearer looks and stands straight ahead. The trunk's sensors then share one heading. A forearm
hangs (palm to the thigh), points forward or points sideways; which of them is seen from its tilt
and from what is nearest to the heading it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.guided import N_POSE, TRUNK
from pallas_ros.imu.hinge import wrap

STANCES = ("hanging", "forward", "sideways")
_STEEP = 0.8
"""Sine of a forearm's inclination beyond which where it points says little about its heading: 53
degrees.
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a sensor's heading is turned by, rad about z, and what was assumed for it."""

    angle: float
    assumed: str


def heading_turns(
    q_world_bone: Mapping[str, Array], site: str = "", stance: str = ""
) -> dict[str, Turn]:
    """The turns that set headings right.

    Args:
        q_world_bone: site -> (4,) xyzw, the bones as they seem to be now; sites that are not seen
            are left out.
        site: the one to turn, relative to the trunk's other sensor; empty: all of them, so that the
            wearer faces +x.
        stance: one of `STANCES`, or empty: for each forearm whichever needs the smallest turn.

    Returns:
        Site -> turn, of the sites that are turned.

    Raises:
        PallasError: a word is not known, a sensor that is needed is silent, or a forearm's heading
            cannot be seen.
    """
    if site and site not in SITES:
        raise PallasError(f"there is no site '{site[:40]}': sites are {', '.join(SITES)}")
    if stance and stance not in STANCES:
        raise PallasError(f"there is no stance '{stance[:40]}': stances are {', '.join(STANCES)}")
    # what shows where the wearer faces: the waist, or for the waist alone the neck
    reference = "neck" if site == "pelvis" else "pelvis"
    wanted = (site,) if site else SITES
    silent = [name for name in (reference, *wanted) if name not in q_world_bone]
    if silent:
        raise PallasError(f"no samples of {silent[0]} at present: its heading is not known")
    facing = float(rotations.heading(q_world_bone[reference]))
    ahead = facing if site else 0.0
    turns = {}
    for name in wanted:
        q = q_world_bone[name]
        if name in TRUNK:
            angle = ahead - float(rotations.heading(q))
            turns[name] = Turn(wrap(angle), "straight ahead")
        else:
            angle, assumed = _forearm(name, q, facing, stance)
            turns[name] = Turn(wrap(angle + ahead - facing), assumed)
    return turns


def _forearm(site: str, q: Array, facing: float, stance: str) -> tuple[float, str]:
    """Turn in rad of a forearm about z, the wearer facing ``facing``, and the stance assumed."""
    left = site == "left_wrist"
    along = rotations.rotate(q, np.array([0.0, 1.0 if left else -1.0, 0.0]))
    steep = abs(float(along[2])) > _STEEP
    if stance == "hanging" or (not stance and along[2] < -_STEEP):
        if along[2] > -_STEEP:
            raise PallasError(f"{site}: the forearm does not hang: let it hang, palm to the thigh")
        hanging = rotations.multiply(rotations.about_z(facing), N_POSE[site])
        off = rotations.multiply(q, rotations.inverse(hanging))
        return -float(rotations.turn_about_z(off)), "hanging, palm to the thigh"
    if steep:
        raise PallasError(
            f"{site}: the forearm points {'up' if along[2] > 0 else 'down'}, so that its heading"
            " cannot be seen: hold it level, forward or sideways, or let it hang"
        )
    points = float(np.arctan2(along[1], along[0]))
    side = np.pi / 2 if left else -np.pi / 2
    ways = {"forward": facing, "sideways": facing + side}
    angles = {name: wrap(to - points) for name, to in ways.items() if stance in ("", name)}
    nearest = min(angles, key=lambda name: abs(angles[name]))
    return angles[nearest], nearest


def in_words(turns: Mapping[str, Turn]) -> str:
    """What was turned and what was assumed, in one sentence."""
    return "heading set right: " + ", ".join(
        f"{site} by {np.degrees(turn.angle):+.0f} degrees ({turn.assumed})"
        for site, turn in turns.items()
    )
