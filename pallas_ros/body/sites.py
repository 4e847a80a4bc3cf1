"""Where sensors are worn: the bone each one measures, and its place on it.

Written here and nowhere else.
"""

from dataclasses import dataclass
from typing import Final

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, EXTRA_SITES, JOINT_INDEX, SITES


@dataclass(frozen=True)
class Site:
    """A place for a sensor.

    Attributes:
        joint: the joint whose segment carries the sensor; the segment's orientation is what the
            site measures.
        place: m, where the sensor sits from that joint, in the bone's frame.
    """

    joint: str
    place: tuple[float, float, float]

    @property
    def index(self) -> int:
        """The joint's place in `JOINTS`."""
        return JOINT_INDEX[self.joint]


SITE: Final[dict[str, Site]] = {
    "pelvis": Site("pelvis", (-0.10, 0.0, 0.05)),  # back of the waist
    "neck": Site("neck", (-0.06, 0.0, 0.03)),  # over C7
    "left_wrist": Site("left_elbow", (0.0, 0.22, 0.03)),  # back of the forearm, above the wrist
    "right_wrist": Site("right_elbow", (0.0, -0.22, 0.03)),
    "left_shin": Site("left_knee", (0.04, 0.03, -0.20)),  # outside of the shin bone, mid-calf
    "right_shin": Site("right_knee", (0.04, -0.03, -0.20)),
    "left_upper_arm": Site("left_shoulder", (0.0, 0.16, 0.04)),  # outside, above the elbow
    "right_upper_arm": Site("right_shoulder", (0.0, -0.16, 0.04)),
    "left_thigh": Site("left_hip", (0.04, 0.06, -0.22)),  # outside, halfway down
    "right_thigh": Site("right_hip", (0.04, -0.06, -0.22)),
    "head": Site("head", (-0.08, 0.0, 0.12)),  # back of a headband
}
"""All sites, the four that are always worn first.

The neck sensor's orientation lies between ``spine3`` and ``head``.
"""


PER_EXTRA: Final = 13
"""Numbers of an optional site among the network's inputs: how much it counts (0 to 1), and that
times its acceleration (3) and orientation (9).
"""
RETURN_FRAMES: Final = 30
"""Frames over which a sensor that was lost counts more and more again, so that the body does not
jump; training draws the same.
"""


def worn_sites(sites: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """A choice of sites in the order of `ALL_SITES`.

    Raises:
        PallasError: a site is unknown or named twice, or one of the four that are always needed is
            missing.
    """
    for site in sites:
        if site not in ALL_SITES:
            raise PallasError(
                f"unknown sensor site '{str(site)[:40]}': known are {', '.join(ALL_SITES)}"
            )
        if list(sites).count(site) > 1:
            raise PallasError(f"the sensor site '{site}' is named twice; give each site one sensor")
    missing = [site for site in SITES if site not in sites]
    if missing:
        raise PallasError(
            f"no sensor for {', '.join(missing)}: the sites {', '.join(SITES)} are always needed, "
            f"and {', '.join(EXTRA_SITES)} may be worn besides"
        )
    return tuple(site for site in ALL_SITES if site in sites)
