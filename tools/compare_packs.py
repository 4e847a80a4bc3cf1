"""Print medians of segment angles by pack and by activity; `ALIGNMENTS` in
`pallas_ros/data/pack_skeletons.py` is based on them: `python tools/compare_packs.py DATA`.

Angles are in the heading frame of the pelvis, for every third frame of the training and validation
clips. Packs with different medians were captured with different skeletons.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.packs import PACKS

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
LIMBS = ("hip", "knee")
FEET = ("ankle", "foot")
SIDES = (("left", 1.0), ("right", -1.0))
FEWEST = 20
"""Minimum number of frames of a median."""

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


def frames(library: MotionLibrary, pack: str) -> tuple[F64, F64, Mask]:
    """Return orientations (N, 22, 3, 3) in the heading frame, speed over ground (N,) m/s, and
    whether both feet stand (N,).
    """
    index = np.concatenate(
        [
            np.arange(clip.start + 2, clip.stop - 2, 3)
            for clip in library.clips
            if clip.pack == pack and clip.split in ("train", "validation")
        ]
    )
    q = library.rotations[index].astype(np.float64)
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    heading = rotations.about_z(-rotations.heading(q[:, 0]))
    way = library.root[index + 2, :2] - library.root[index - 2, :2]
    speed = np.linalg.norm(way, axis=-1) * MODEL_RATE_HZ / 4
    R = rotations.to_matrix(rotations.multiply(heading[:, None], q))
    return np.asarray(R, np.float64), speed, np.asarray(library.contacts[index].all(axis=1))


def angle(a: F64, b: F64) -> F64:
    """Degrees."""
    return np.asarray(np.degrees(np.arctan2(a, b)))


def kinds(R: F64, speed: F64, standing: Mask) -> dict[str, Mask]:
    """Return masks (N,) of the frames by activity."""

    def within(joint: str, degrees: float) -> Mask:
        return np.asarray(R[:, JOINT_INDEX[joint], 2, 2] > np.cos(np.radians(degrees)))

    upright = within("pelvis", 20)
    legs = [within(f"{side}_{name}", 20) for side, _ in SIDES for name in LIMBS]
    thighs = [~within(f"{side}_hip", 60) for side, _ in SIDES]
    shins = [within(f"{side}_knee", 35) for side, _ in SIDES]
    return {
        "stand": np.all([standing, speed < 0.1, upright, within("spine3", 20), *legs], axis=0),
        "sit": np.all([speed < 0.1, upright, *thighs, *shins], axis=0),
        "walk": np.all([upright, speed > 0.8, speed < 1.6], axis=0),
    }


def figures(R: F64, speed: F64, standing: Mask) -> dict[str, float]:
    """Return medians in degrees by name; NaN if there are too few frames."""
    out: dict[str, float] = {}

    def bone(name: str, axis: int) -> list[F64]:
        return [R[:, JOINT_INDEX[f"{side}_{name}"], :, axis] for side, _ in SIDES]

    def add(name: str, values: list[F64], mask: Mask) -> None:
        chosen = np.concatenate([v[mask] for v in values])
        out[name] = float(np.median(chosen)) if len(chosen) >= FEWEST else float("nan")

    for kind, mask in kinds(R, speed, standing).items():
        for joint in TRUNK:
            up = R[:, JOINT_INDEX[joint], :, 2]
            add(f"{kind}: {joint}, forward lean", [angle(up[:, 0], up[:, 2])], mask)
        for name in LIMBS:
            z = bone(name, 2)
            add(f"{kind}: {name}, forward lean", [angle(v[:, 0], v[:, 2]) for v in z], mask)
            outward = [
                -sign * angle(v[:, 1], v[:, 2]) for v, (_, sign) in zip(z, SIDES, strict=True)
            ]
            add(f"{kind}: {name}, outward", outward, mask)
        for name in FEET:
            down = [angle(-v[:, 2], np.hypot(v[:, 0], v[:, 1])) for v in bone(name, 0)]
            add(f"{kind}: {name}, toes down", down, mask)
    chest = R[:, JOINT_INDEX["spine3"]].transpose(0, 2, 1)
    for side, sign in SIDES:
        forearm = sign * R[:, JOINT_INDEX[f"{side}_elbow"], :, 1]
        hanging = (forearm[:, 2] < -np.cos(np.radians(20))) & kinds(R, speed, standing)["stand"]
        upper = np.einsum("nij,nj->ni", chest, sign * R[:, JOINT_INDEX[f"{side}_shoulder"], :, 1])
        out_of_chest = np.degrees(np.arcsin(np.clip(sign * upper[:, 1], -1, 1)))
        add(f"hanging: {side} upper arm, outward", [out_of_chest], hanging)
    return out


def main(folder: str) -> int:
    """Print one row per figure, one column per pack."""
    library = MotionLibrary.open(folder)
    packs = [pack for pack in PACKS if any(clip.pack == pack for clip in library.clips)]
    columns = {pack: figures(*frames(library, pack)) for pack in packs}
    print(f"{'median, degrees':36s}" + "".join(f"{pack:>14s}" for pack in packs))
    for name in columns[packs[0]]:
        print(f"{name:36s}" + "".join(f"{columns[pack][name]:14.1f}" for pack in packs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
