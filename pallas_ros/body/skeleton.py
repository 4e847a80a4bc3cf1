"""Segment lengths of the 22-joint body, from the operator's height or set individually.

Long bones, shoulder and ankle heights are the fractions of stature of Drillis and Contini (1966) as
tabulated by Winter, *Biomechanics and Motor Control of Human Movement* (2009), table 4.1; the half
width of the hips follows Bell et al. (1990) with a mean inter-ASIS distance. Points inside the
trunk have no standard fractions: those are chosen so that C7 (neck) is at 0.86 and the head joint
at 0.91 of stature.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS

DEFAULT_HEIGHT_M = 1.75
HEIGHT_RANGE_M = (1.2, 2.2)

SEGMENT_FRACTIONS: dict[str, float] = {
    "thigh": 0.245,
    "shank": 0.246,
    "ankle_height": 0.039,
    "foot": 0.092,
    "hip_half_width": 0.050,
    "hip_drop": 0.045,
    "trunk": 0.285,
    "neck_to_head": 0.050,
    "shoulder_half_width": 0.112,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.108,
    "head_height": 0.090,
}
"""Segment name to fraction of stature. ``foot`` is ankle to toe base; ``hand`` and ``head_height``
extend beyond the last joint.
"""

_TRUNK_SHARES = {"spine1": 0.205, "spine2": 0.226, "spine3": 0.102, "neck": 0.467}


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Fixed geometry of a body.

    Attributes:
        offsets: (22, 3) m, of every joint from its parent in the T-pose (facing +x, left along +y,
            z up); zero for the pelvis.
        hand: m, from the wrist to the finger tips.
        head: m, from the head joint to the crown.
        sole: m, from the ankle down to the ground when standing.
    """

    offsets: NDArray[np.float64]
    hand: float
    head: float
    sole: float

    def __post_init__(self) -> None:
        """Make the offsets read-only, so that skeletons can be shared."""
        self.offsets.setflags(write=False)

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Bone lengths (22,) m, from parent to joint; 0 for the pelvis."""
        return np.asarray(np.linalg.norm(self.offsets, axis=-1))

    @property
    def rest_positions(self) -> NDArray[np.float64]:
        """Joint positions (22, 3) m in the T-pose: feet on z = 0, pelvis above the origin."""
        positions = np.zeros_like(self.offsets)
        for joint in range(1, len(JOINTS)):
            positions[joint] = positions[PARENTS[joint]] + self.offsets[joint]
        positions[:, 2] += self.sole - positions[JOINT_INDEX["left_ankle"], 2]
        return positions

    @property
    def height(self) -> float:
        """Stature in m: the crown's height in the T-pose."""
        return float(self.rest_positions[JOINT_INDEX["head"], 2] + self.head)

    @classmethod
    def from_height(
        cls, height: float = DEFAULT_HEIGHT_M, segments: dict[str, float] | None = None
    ) -> "Skeleton":
        """Return the body of an operator ``height`` m tall.

        Lengths in ``segments`` (name to m) override those of the table.

        Raises:
            PallasError: the height or a segment's length is not human, or a segment is unknown.
        """
        low, high = HEIGHT_RANGE_M
        if not low <= height <= high:
            raise PallasError(
                f"operator height {height} m is outside {low} to {high} m: give it in metres"
            )
        m = {name: fraction * height for name, fraction in SEGMENT_FRACTIONS.items()}
        for name, length in (segments or {}).items():
            if name not in m:
                raise PallasError(
                    f"unknown body segment '{name}': known are {', '.join(sorted(m))}"
                )
            if not 0.4 * m[name] <= length <= 2.5 * m[name]:
                raise PallasError(
                    f"body segment '{name}' of {length} m does not fit a height of {height} m"
                    f" (expected about {m[name]:.3f} m)"
                )
            m[name] = float(length)
        offsets = np.zeros((len(JOINTS), 3))

        def put(joint: str, forward: float, left: float, up: float) -> None:
            offsets[JOINT_INDEX[joint]] = (forward, left, up)

        for joint, share in _TRUNK_SHARES.items():
            put(joint, 0.0, 0.0, share * m["trunk"])
        put("head", 0.0, 0.0, m["neck_to_head"])
        for side, sign in (("left", 1.0), ("right", -1.0)):
            put(f"{side}_hip", 0.0, sign * m["hip_half_width"], -m["hip_drop"])
            put(f"{side}_knee", 0.0, 0.0, -m["thigh"])
            put(f"{side}_ankle", 0.0, 0.0, -m["shank"])
            put(f"{side}_foot", m["foot"], 0.0, -0.6 * m["ankle_height"])
            collar_up = 0.30 * m["trunk"]
            put(f"{side}_collar", 0.0, sign * 0.35 * m["shoulder_half_width"], collar_up)
            put(f"{side}_shoulder", 0.0, sign * 0.65 * m["shoulder_half_width"], 0.02 * m["trunk"])
            put(f"{side}_elbow", 0.0, sign * m["upper_arm"], 0.0)
            put(f"{side}_wrist", 0.0, sign * m["forearm"], 0.0)
        return cls(offsets, hand=m["hand"], head=m["head_height"], sole=m["ankle_height"])


_LONG_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)


def body_scale(positions: NDArray[np.floating]) -> float:
    """Return the size of a body relative to the default, from the median long bone length.

    ``positions``: (T, 22, 3) m.
    """
    default = Skeleton.from_height().lengths
    ends = [(JOINT_INDEX[a], JOINT_INDEX[b]) for a, b in _LONG_BONES]
    parents, joints = (np.array(x) for x in zip(*ends, strict=True))
    lengths = np.linalg.norm(positions[:, joints] - positions[:, parents], axis=-1)
    scale = float(np.median(lengths / default[joints]))
    return scale if np.isfinite(scale) and 0.5 < scale < 2.0 else 1.0
