"""Representation of generated motion: 30 Hz frames of root path, joint rotations and contacts.

A window starts at the origin and faces +x, so that it is independent of its place in the world; a
`Place` transforms it back. Positions follow by forward kinematics, so bone lengths are preserved.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics, forward_kinematics_matrices
from pallas_ros.body.motion import Motion, resample, resample_path
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.body.skeleton import body_scale as body_scale

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FPS: Final = 30.0
"""Frames per second of the windows."""
FRAMES: Final = 120
"""Frames of a window: 4 s."""

ROOT: Final = slice(0, 3)
"""Pelvis, m: x and y relative to the start, z above the floor."""
R6D: Final = slice(3, 3 + 6 * len(JOINTS))
"""r6d of each joint's global orientation in the window's frame, joint by joint."""
CONTACTS: Final = slice(R6D.stop, R6D.stop + 2)
"""Contact of left and right foot, 0 to 1."""
FEATURES: Final = CONTACTS.stop
"""Number of values per frame (137)."""

_FEET = [JOINT_INDEX[n] for n in ("left_foot", "right_foot")]
_STILL_M_S = 0.25
_NEAR_FLOOR_M = 0.06
"""m/s and m: a foot below both is in contact, about as in the imported packs."""


@dataclass(frozen=True)
class Place:
    """Place of a window in the world.

    Attributes:
        heading: rad, of the pelvis in the first frame of the window.
        x: m, of the pelvis in the first frame of the window.
        y: m, of the pelvis in the first frame of the window.
    """

    heading: float = 0.0
    x: float = 0.0
    y: float = 0.0


def place_of(q_world_pelvis: Array, p_world_pelvis: Array) -> Place:
    """Place of a window whose first pelvis has this orientation (4,) xyzw and position (3,) m."""
    return Place(
        float(rotations.heading(q_world_pelvis)), float(p_world_pelvis[0]), float(p_world_pelvis[1])
    )


def encode(q_world_joint: Array, p_world_pelvis: Array, contacts: Array, place: Place) -> F32:
    """Convert frames to features.

    Args:
        q_world_joint: (..., 22, 4) global orientations, xyzw.
        p_world_pelvis: (..., 3) m.
        contacts: (..., 2), 0 to 1.
        place: of the window.

    Returns:
        Features (..., 137) in the frame of the window.
    """
    turn = rotations.about_z(-place.heading)
    q = rotations.multiply(np.broadcast_to(turn, q_world_joint.shape), q_world_joint)
    offset = np.array([place.x, place.y, 0.0])
    root = rotations.rotate(np.broadcast_to(turn, (*p_world_pelvis.shape[:-1], 4)),
                            p_world_pelvis - offset)  # fmt: skip
    r6d = rotations.to_r6d(rotations.to_matrix(q))
    return np.concatenate(
        (root, r6d.reshape(*r6d.shape[:-2], -1), contacts), axis=-1, dtype=np.float32
    )


def seen_from(features: Array, place: Place) -> F32:
    """Transform features (..., 137) from the world to the frame of a place."""
    return _turned(features, place, inverse=True)


def placed(features: Array, place: Place) -> F32:
    """Transform features (..., 137) from the frame of a place to the world.

    Inverse of `seen_from`.
    """
    return _turned(features, place, inverse=False)


def _turned(features: Array, place: Place, *, inverse: bool) -> F32:
    c = np.cos(place.heading)
    s = np.sin(place.heading)
    R = np.array([[c, -s], [s, c]], dtype=np.float32)
    origin = np.array([place.x, place.y], dtype=np.float32)
    out = np.array(features, dtype=np.float32)
    columns = out[..., R6D].reshape(*out.shape[:-1], 2 * len(JOINTS), 3)
    if inverse:
        out[..., :2] = (out[..., :2] - origin) @ R
        columns[..., :2] = columns[..., :2] @ R
    else:
        out[..., :2] = out[..., :2] @ R.T + origin
        columns[..., :2] = columns[..., :2] @ R.T
    out[..., R6D] = columns.reshape(*out.shape[:-1], 6 * len(JOINTS))
    return out


def matrices(features: Array) -> F64:
    """Rotation matrices (..., 22, 3, 3) of the joints in the window's frame, from features
    (..., 137).
    """
    r6d = np.asarray(features[..., R6D], dtype=np.float64)
    return np.asarray(rotations.from_r6d(r6d.reshape(*r6d.shape[:-1], len(JOINTS), 6)))


def positions(features: Array, skeleton: Skeleton | None = None) -> F64:
    """Joint positions (..., 22, 3) m by forward kinematics, in the window's frame, from features
    (..., 137).
    """
    root = np.asarray(features[..., ROOT], dtype=np.float64)
    skeleton = skeleton or Skeleton.from_height()
    return np.asarray(forward_kinematics_matrices(skeleton, matrices(features), root))


def decode(features: Array, place: Place | None = None) -> tuple[F64, F64, F64]:
    """Convert features (..., 137) to orientations (..., 22, 4) xyzw, pelvis positions (..., 3) m
    and contacts (..., 2), in the world.
    """
    place = place or Place()
    turn = rotations.about_z(place.heading)
    q = rotations.from_matrix(matrices(features))
    q = rotations.multiply(np.broadcast_to(turn, q.shape), q)
    root = np.asarray(features[..., ROOT], dtype=np.float64)
    turned = rotations.rotate(np.broadcast_to(turn, (*root.shape[:-1], 4)), root)
    root = np.asarray(turned + np.array([place.x, place.y, 0.0]), dtype=np.float64)
    return np.asarray(q, dtype=np.float64), root, np.clip(features[..., CONTACTS], 0.0, 1.0)


def from_motion(motion: Motion, place: Place | None = None) -> tuple[F32, Place]:
    """Convert a motion of any rate and body size to features (T, 137) at 30 Hz, and its place.

    The root path is scaled to the default body. ``place`` defaults to that of the first frame.

    Raises:
        PallasError: a frame is not finite.
    """
    if not (np.isfinite(motion.positions).all() and np.isfinite(motion.rotations).all()):
        raise PallasError("the motion contains values that are not finite: smooth it first")
    contacts = (motion.extra or {}).get("contacts")
    even = motion if motion.fps == FPS else resample(motion, FPS)
    if contacts is None:
        standing = estimated_contacts(even.positions, FPS)
    else:
        at = np.round(np.arange(len(even)) * motion.fps / FPS).astype(int)
        standing = np.asarray(contacts, dtype=np.float64)[np.minimum(at, len(motion) - 1)]
    root = even.positions[:, 0] / body_scale(motion.positions)
    place = place or place_of(even.rotations[0, 0], root[0])
    return encode(even.rotations, root, standing, place), place


def to_motion(
    features: Array,
    place: Place | None = None,
    skeleton: Skeleton | None = None,
    fps: float = 60.0,
) -> Motion:
    """Convert features (T, 137) to a motion at ``fps``, with the default skeleton or another."""
    default = Skeleton.from_height()
    skeleton = skeleton or default
    q, root, contacts = decode(features, place)
    root = root * (skeleton.height / default.height)
    if fps != FPS:
        at = np.arange(int(np.floor((len(q) - 1) * fps / FPS + 1e-6)) + 1) * FPS / fps
        q, root = (np.asarray(x, np.float64) for x in resample_path(q, root, FPS, fps))
        contacts = contacts[np.minimum(np.round(at).astype(int), len(contacts) - 1)]
    p = np.asarray(forward_kinematics(skeleton, q, root), dtype=np.float64)
    turned = np.asarray(rotations.normalise(q), dtype=np.float64)
    return Motion(fps, p, turned, extra={"contacts": contacts > 0.5})


def estimated_contacts(positions: Array, fps: float) -> F64:
    """Contacts (T, 2) from positions (T, 22, 3) m: feet that are slow and near their lowest
    height.
    """
    feet = positions[:, _FEET]
    speed = np.linalg.norm(np.gradient(feet, axis=0), axis=-1) * fps if len(feet) > 1 else 0.0
    low = feet[..., 2] < np.quantile(feet[..., 2], 0.05) + _NEAR_FLOOR_M
    return np.asarray((speed < _STILL_M_S) & low, dtype=np.float64)


def mirrored(features: Array) -> F32:
    """Features (..., 137) of the mirrored motion: left and right exchanged."""
    flip = np.array([1.0, -1.0, 1.0], dtype=np.float32)
    out = np.array(features, dtype=np.float32)
    # R becomes M R M with M = diag(flip): its first two columns are flipped, the second negated too
    columns = out[..., R6D].reshape(*out.shape[:-1], len(JOINTS), 2, 3)[..., list(MIRROR), :, :]
    columns = columns * (flip[:2, None] * flip)
    out[..., R6D] = columns.reshape(*out.shape[:-1], 6 * len(JOINTS))
    out[..., ROOT] *= flip
    out[..., CONTACTS] = out[..., CONTACTS][..., ::-1]
    return out
