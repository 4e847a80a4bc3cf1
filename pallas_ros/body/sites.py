"""Sensor sites: the bone each one measures, and its position on it.

Each is defined only here.
"""

from dataclasses import dataclass
from typing import Final

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, EXTRA_SITES, JOINT_INDEX, SITES


@dataclass(frozen=True)
class Site:
    """A site for a sensor.

    Attributes:
        joint: joint whose segment carries the sensor; the site measures the orientation of this
            segment.
        place: m, position of the sensor relative to that joint, in the bone's frame.
    """

    joint: str
    place: tuple[float, float, float]

    @property
    def index(self) -> int:
        """Index of the joint in `JOINTS`."""
        return JOINT_INDEX[self.joint]


SITE: Final[dict[str, Site]] = {
    "pelvis": Site("pelvis", (-0.10, 0.0, 0.05)),  # back of the waist
    "neck": Site("neck", (-0.06, 0.0, 0.03)),  # over C7
    "left_wrist": Site("left_elbow", (0.0, 0.22, 0.03)),  # back of the forearm, above the wrist
    "right_wrist": Site("right_elbow", (0.0, -0.22, 0.03)),
    "left_shin": Site("left_knee", (0.04, 0.03, -0.20)),  # outer side of the shin, mid-calf
    "right_shin": Site("right_knee", (0.04, -0.03, -0.20)),
    "left_upper_arm": Site("left_shoulder", (0.0, 0.16, 0.04)),  # outer side, above the elbow
    "right_upper_arm": Site("right_shoulder", (0.0, -0.16, 0.04)),
    "left_thigh": Site("left_hip", (0.04, 0.06, -0.22)),  # outer side, halfway down
    "right_thigh": Site("right_hip", (0.04, -0.06, -0.22)),
    "head": Site("head", (-0.08, 0.0, 0.12)),  # back of a headband
}
"""All sites, the four required ones first.

The neck sensor's orientation is between ``spine3`` and ``head``.
"""


PER_EXTRA: Final = 13
"""Number of network inputs per optional site: its weight (0 to 1), and the weighted acceleration
(3) and orientation (9).
"""
RETURN_FRAMES: Final = 30
"""Frames over which the weight of a recovered sensor ramps up, so that the body does not jump; the
same in training.
"""


def worn_sites(sites: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return a selection of sites in the order of `ALL_SITES`.

    Raises:
        PallasError: a site is unknown or given twice, or one of the four required ones is missing.
    """
    for site in sites:
        if site not in ALL_SITES:
            raise PallasError(
                f"unknown sensor site '{str(site)[:40]}': known are {', '.join(ALL_SITES)}"
            )
        if list(sites).count(site) > 1:
            raise PallasError(f"the sensor site '{site}' is given twice; give each site one sensor")
    missing = [site for site in SITES if site not in sites]
    if missing:
        raise PallasError(
            f"no sensor for {', '.join(missing)}: the sites {', '.join(SITES)} are always"
            f" required, and {', '.join(EXTRA_SITES)} are optional"
        )
    return tuple(site for site in ALL_SITES if site in sites)
