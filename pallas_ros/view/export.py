"""Exports motion to the formats of other tools: BVH for animation, CSV for plots."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import to_local
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.files.writing import save_text

F64 = NDArray[np.float64]

Z_UP_TO_Y_UP = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Rotation from our axes (x forward, y left, z up) to those of BVH files (z forward, x left, y
up)."""
_RIGID_M = 5e-5
"""Deviation of a joint from its offset above which it has position channels: half of the 0.1 mm
within which the file is to be read back.
"""
_CHILDREN = {
    joint: [child for child, parent in enumerate(PARENTS) if parent == joint]
    for joint in range(len(JOINTS))
}


def write_bvh(path: str | Path, motion: Motion) -> None:
    """Write a BVH: y up, facing +z in the T-pose, centimetres, degrees, channels Z X Y.

    Offsets are medians over the motion. Joints with varying offsets (segment lengths of smoothed
    bodies change) have position channels, like the pelvis. Frames with NaN repeat the previous
    frame.

    Raises:
        PallasError: no frame is finite, or the file cannot be written.
    """
    positions, q_world = _filled(motion)
    q_local = to_local(q_world)
    turn = Z_UP_TO_Y_UP
    bones = positions.copy()
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        bones[:, joint] = rotations.rotate(
            rotations.inverse(q_world[:, parent]), positions[:, joint] - positions[:, parent]
        )
    offsets = np.median(bones, axis=0)
    slides = np.linalg.norm(bones - offsets, axis=2).max(axis=0) > _RIGID_M
    slides[0] = True
    offsets[0] = 0.0
    matrices = turn @ rotations.to_matrix(q_local) @ turn.T
    angles = np.degrees(_zxy(matrices))
    bones_file = bones @ turn.T * 100
    out = io.StringIO()
    out.write("HIERARCHY\n")
    order: list[int] = []
    _hierarchy(out, 0, offsets @ turn.T * 100, slides, order, "")
    out.write(f"MOTION\nFrames: {len(motion)}\nFrame Time: {1 / motion.fps:.8f}\n")
    columns = [
        values
        for joint in order
        for values in ((bones_file[:, joint],) if slides[joint] else ()) + (angles[:, joint],)
    ]
    np.savetxt(out, np.concatenate(columns, axis=1), fmt="%.5f")
    save_text(Path(path), out.getvalue())


def write_csv(path: str | Path, motion: Motion) -> None:
    """Write a CSV file with one row per frame: time in s; position in m and orientation xyzw of
    each joint in the world (z up); validity.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    columns = [
        f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "z", "qx", "qy", "qz", "qw")
    ]
    writer.writerow(["time", *columns, "valid"])
    values = np.concatenate((motion.positions, motion.rotations), axis=2).reshape(len(motion), -1)
    valid = np.ones(len(motion), dtype=bool) if motion.valid is None else np.asarray(motion.valid)
    for index in range(len(motion)):
        writer.writerow(
            [
                f"{index / motion.fps:.6f}",
                *(f"{value:.6f}" for value in values[index]),
                int(valid[index]),
            ]
        )
    save_text(Path(path), out.getvalue())


def _filled(motion: Motion) -> tuple[F64, F64]:
    """Positions and rotations; frames that are not finite repeat the last finite one."""
    good = np.asarray(
        np.isfinite(motion.positions).all((1, 2)) & np.isfinite(motion.rotations).all((1, 2))
    )
    if not good.any():
        raise PallasError("no frame of this motion is finite, so there is nothing to export")
    last = np.maximum.accumulate(np.where(good, np.arange(len(good)), -1))
    last[last < 0] = int(np.flatnonzero(good)[0])
    return motion.positions[last], motion.rotations[last]


def _zxy(m: F64) -> F64:
    """Angles (..., 3) rad about z, then x, then y (intrinsic), of rotation matrices (..., 3, 3)."""
    x = np.arcsin(np.clip(m[..., 2, 1], -1, 1))
    locked = np.abs(m[..., 2, 1]) > 1 - 1e-9
    z = np.where(
        locked, np.arctan2(m[..., 1, 0], m[..., 0, 0]), np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    )
    y = np.where(locked, 0.0, np.arctan2(-m[..., 2, 0], m[..., 2, 2]))
    return np.stack((z, x, y), axis=-1)


def _hierarchy(
    out: io.StringIO,
    joint: int,
    offsets: F64,
    slides: NDArray[np.bool_],
    order: list[int],
    indent: str,
) -> None:
    order.append(joint)
    x, y, z = offsets[joint]
    place = "Xposition Yposition Zposition " if slides[joint] else ""
    out.write(
        f"{indent}{'ROOT' if joint == 0 else 'JOINT'} {JOINTS[joint]}\n{indent}{{\n{indent}  OFFSET"
        f" {x:.5f} {y:.5f} {z:.5f}\n"
    )
    count = 6 if slides[joint] else 3
    out.write(f"{indent}  CHANNELS {count} {place}Zrotation Xrotation Yrotation\n")
    for child in _CHILDREN[joint]:
        _hierarchy(out, child, offsets, slides, order, indent + "  ")
    if not _CHILDREN[joint]:
        length = float(np.linalg.norm(offsets[joint]))
        x, y, z = offsets[joint] / max(length, 1e-9) * min(length, 8.0)
        out.write(
            f"{indent}  End Site\n{indent}  {{\n{indent}    OFFSET {x:.5f} {y:.5f}"
            f" {z:.5f}\n{indent}  }}\n"
        )
    out.write(f"{indent}}}\n")
