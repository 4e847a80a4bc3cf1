"""Importers for what users have: BVH files, and AMASS/SMPL ``.npz`` (pose parameters; no body-model file is needed)."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import to_global as smpl_to_global
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.packs import PackClip
from pallas_ros.data.retargeting import (
    LIMB_BONES,
    Y_UP_TO_Z_UP,
    align_to_tpose,
    body_motion,
    rest_frames,
    to_global,
)
from pallas_ros.files.npz import load_npz

ALIASES: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "hip", "pelvis", "root"),
    "neck": ("neck", "neck1"),
    "head": ("head",),
    "hip": ("upleg", "upperleg", "thigh", "hip", "hipjoint"),
    "knee": ("leg", "lowerleg", "shin", "calf", "knee"),
    "ankle": ("foot", "ankle"),
    "foot": ("toebase", "toes", "toe", "ball"),
    "collar": ("shoulder", "collar", "clavicle"),
    "shoulder": ("arm", "upperarm", "uparm", "shoulder"),
    "elbow": ("forearm", "lowerarm", "elbow"),
    "wrist": ("hand", "wrist"),
}
"""Part of the body -> names that rigs give it (lower case, side and punctuation removed), best first."""

_SPINE = re.compile(r"^(lowerback|spine\d*|chest\d*|upperchest|torso|abdomen)$")
_OPTIONAL = ("foot", "collar", "wrist")


def _plain(name: str) -> tuple[str, str]:
    """Side ("left", "right" or "") and the rest of a rig's joint name."""
    name = name.split(":")[-1]
    side = ""
    for mark, value in (
        (r"^left|left$", "left"),
        (r"^right|right$", "right"),
        (r"^l[_.\- ]|[_.\- ]l$", "left"),
        (r"^r[_.\- ]|[_.\- ]r$", "right"),
    ):
        if re.search(mark, name, flags=re.IGNORECASE):
            side, name = value, re.sub(mark, "", name, flags=re.IGNORECASE)
            break
    if not side and re.match(r"^[lr][A-Z]", name):
        side, name = ("left" if name[0] == "l" else "right"), name[1:]
    return side, re.sub(r"[^a-z0-9]", "", name.lower())


def match_joints(names: list[str], path: str | Path) -> dict[str, str]:
    """Canonical joint -> the rig's joint, by name.

    Raises:
        PallasError: a joint that the body needs has no counterpart.
    """
    known: dict[tuple[str, str], str] = {}
    for name in names:
        known.setdefault(_plain(name), name)
    found: dict[str, str] = {}
    spine = [name for name in names if _SPINE.match(_plain(name)[1]) and not _plain(name)[0]]
    for joint in JOINTS:
        side, _, part = joint.rpartition("_")
        if joint.startswith("spine"):
            if not spine:
                raise PallasError(
                    f"{path}: no joint of this BVH is a spine (it has {', '.join(names[:8])}, …); rename its joints"
                )
            found[joint] = spine[
                {"spine1": 0, "spine2": len(spine) // 2, "spine3": len(spine) - 1}[joint]
            ]
            continue
        candidates = [known[(side, alias)] for alias in ALIASES[part] if (side, alias) in known]
        taken = [name for name in candidates if name not in found.values()]
        if taken:
            found[joint] = taken[0]
    for joint in JOINTS:
        part = joint.rpartition("_")[2]
        if joint not in found and part in _OPTIONAL:
            parent = {"foot": "ankle", "collar": "", "wrist": "elbow"}[part]
            found[joint] = (
                found.get(joint.replace(part, parent), found["spine3"])
                if parent
                else found["spine3"]
            )
        if joint not in found:
            raise PallasError(
                f"{path}: no joint of this BVH is the {joint.replace('_', ' ')} (it has {', '.join(names[:8])}, …); rename its joints"
            )
    return found


def read_bvh(path: str | Path, metres: float = 0.01) -> Motion:
    """A BVH file (y up, facing +z at rest) as canonical motion.

    Its zero pose is taken for the T-pose; limbs that point elsewhere there are turned by the shortest way.

    Args:
        path: the file.
        metres: length of the file's unit; centimetres by default.

    Raises:
        PallasError: not a BVH file, other joints, or frames that hold NaN.
    """
    try:
        import bvhio  # type: ignore[import-untyped]
    except ImportError:
        raise PallasError(
            f"{path}: reading BVH needs the package bvhio: pip install 'pallas-ros[train]'"
        ) from None
    try:
        document = bvhio.readAsBvh(str(path))
    except FileNotFoundError:
        raise PallasError(f"{path}: no such file; give the path of a BVH file") from None
    except Exception as error:  # the library raises SyntaxError, ValueError, IndexError and others
        raise PallasError(
            f"{path}: not a readable BVH file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None
    joints = [joint for joint, _, _ in document.Root.layout()]
    names, parents = [joint.Name for joint in joints], np.full(len(joints), -1)
    for index, joint in enumerate(joints):
        for child in joint.Children:
            parents[next(i for i, other in enumerate(joints) if other is child)] = index
    if document.FrameCount < 2:
        raise PallasError(f"{path}: holds {document.FrameCount} frames; at least 2 are needed")
    local = np.array(
        [
            [(k.Rotation.x, k.Rotation.y, k.Rotation.z, k.Rotation.w) for k in joint.Keyframes]
            for joint in joints
        ]
    ).swapaxes(0, 1)
    path_m = (
        np.array([(k.Position.x, k.Position.y, k.Position.z) for k in joints[0].Keyframes]) * metres
    )
    _check_finite(path, local, path_m)
    matched = match_joints(names, path)
    offsets = {
        name: np.array((joint.Offset.x, joint.Offset.y, joint.Offset.z)) * metres
        for name, joint in zip(names, joints, strict=True)
    }
    y_up = rotations.from_matrix(Y_UP_TO_Z_UP)
    bones = {
        matched[a]: (a, offsets[matched[b]])
        for a, b in LIMB_BONES
        if matched[a] != matched[b] and np.linalg.norm(offsets[matched[b]]) > 1e-6
    }
    q_rest = align_to_tpose(dict.fromkeys(names, y_up), bones)
    rest = rest_frames(
        {joint: (matched[joint], matched[joint], 0.0) for joint in JOINTS}, names, q_rest
    )
    q = rest.to_body(rotations.multiply(y_up, to_global(rotations.normalise(local), parents)))
    legs = float(
        sum(np.linalg.norm(offsets[matched[name]]) for name in ("left_knee", "left_ankle"))
    )
    if not 0.2 < legs < 2.0:
        raise PallasError(
            f"{path}: its legs would be {legs:.2f} m long; give the length of the file's unit in metres"
        )
    return body_motion(q, path_m @ Y_UP_TO_Z_UP.T, 1.0 / document.FrameTime, legs)


def read_amass(path: str | Path) -> Motion:
    """An AMASS or SMPL ``.npz`` (``poses`` axis-angle (T, 66 or more), ``trans`` (T, 3), ``mocap_framerate``), z up, as canonical motion.

    Raises:
        PallasError: not such a file, or frames that hold NaN.
    """
    arrays: dict[str, Any] = load_npz(path, "AMASS/SMPL motion")
    if "poses" not in arrays and "root_orient" in arrays and "pose_body" in arrays:
        arrays["poses"] = np.concatenate((arrays["root_orient"], arrays["pose_body"]), axis=1)
    rate = next(
        (arrays[key] for key in ("mocap_framerate", "mocap_frame_rate", "fps") if key in arrays),
        None,
    )
    if "poses" not in arrays or "trans" not in arrays or rate is None:
        raise PallasError(
            f"{path}: not an AMASS/SMPL motion: it needs 'poses', 'trans' and 'mocap_framerate', and holds {', '.join(sorted(arrays)) or 'nothing'}"
        )
    poses, trans, fps = (
        np.asarray(arrays["poses"], dtype=np.float64),
        np.asarray(arrays["trans"], dtype=np.float64),
        float(np.asarray(rate).reshape(-1)[0]),
    )
    if (
        poses.ndim != 2
        or poses.shape[1] < 66
        or trans.shape != (len(poses), 3)
        or len(poses) < 2
        or not 1 <= fps <= 1000
    ):
        raise PallasError(
            f"{path}: 'poses' has shape {poses.shape}, 'trans' {trans.shape} at {fps:g} frames/s; wanted (T, 66 or more) and (T, 3), T at least 2"
        )
    _check_finite(path, poses, trans)
    q = smpl_to_global(rotations.from_rotvec(poses[:, :66].reshape(-1, len(JOINTS), 3)))
    q = rotations.multiply(q, rotations.inverse(rotations.from_matrix(Y_UP_TO_Z_UP)))
    skeleton = Skeleton.from_height()
    legs = float(
        skeleton.lengths[JOINT_INDEX["left_knee"]] + skeleton.lengths[JOINT_INDEX["left_ankle"]]
    )
    return body_motion(q, trans, fps, legs)


def _check_finite(path: str | Path, rotations_: Array, positions: Array) -> None:
    bad = np.logical_not(
        np.isfinite(rotations_).reshape(len(rotations_), -1).all(1) & np.isfinite(positions).all(1)
    )
    if bad.any():
        raise PallasError(
            f"{path}: {int(bad.sum())} of {len(bad)} frames hold NaN or infinite values, the first is frame {int(np.argmax(bad))}; repair or cut them"
        )


def read_folder(folder: str | Path) -> list[PackClip]:
    """Every BVH and AMASS/SMPL file in a folder and those below it; a clip's content is the folder it lies in.

    Raises:
        PallasError: there is none, or one is not usable (named).
    """
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".bvh", ".npz"))
    if not files:
        raise PallasError(
            f"{folder}: neither motion packs nor BVH or AMASS (.npz) files lie in it; give the folder of the motion data with --data"
        )
    clips = []
    for path in files:
        motion = read_bvh(path) if path.suffix.lower() == ".bvh" else read_amass(path)
        clips.append(PackClip("files", str(path.relative_to(folder)), path.parent.name, "", motion))
    return clips
