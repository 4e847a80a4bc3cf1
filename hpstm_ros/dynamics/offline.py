"""Forces of a motion file: the motion is smoothed, differentiated and solved frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.human import Human, states
from hpstm_ros.dynamics.rigid_body import FLIGHT, Frame, RigidBody, RigidBodySettings
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

LEAST_FRAMES = 8
LEAST_S = 0.25
"""s, minimum duration; accelerations of shorter motions are not meaningful."""
CUTOFF_HZ = 6.0
"""Hz, cut-off of a zero-phase fourth-order Butterworth filter.

The usual choice for gait (Winter 2009, chapter 3).
"""
_HIGHEST_CUTOFF = 0.45
"""Highest cutoff of the filter, as a share of the frame rate."""
_EDGE_S = 0.05
"""s, margin at both ends of a segment where accelerations are extrapolated."""
_LONGEST_GAP_S = 0.1
"""s, longest gap that is interpolated and remains valid."""

_SEAT_PERCENTILE = 10.0
"""Percentile of the hip heights that is the height of the seat in a motion with sitting down."""


@dataclass(eq=False)
class Dynamics:
    """Forces over time, world axes.

    Attributes:
        t: (T,) s.
        moment: (T, 22, 3) Nm, net moment on each distal segment; the pelvis's is the residual
            moment.
        ground_reaction: (T, 2, 6) left and right: force N, centre of pressure m (NaN without
            force).
        residual: (T, 6) force N and moment Nm at the pelvis that no contact explains.
        valid: (T,) False where the motion is unknown.
        flight: (T,) True where the body has no support.
        mass: kg, of the body without loads.
        loads: side -> carried mass, kg.
        positions: (T, 22, 3) m, joints of the model.
        centre: (T, 3) m, centre of mass.
        floor: m, height of the ground.
        extra: contact besides the feet -> (T, 3) N.
        remarks: sentences about how the motion was processed (`remarks`).
    """

    t: F64
    moment: F64
    ground_reaction: F64
    residual: F64
    valid: NDArray[np.bool_]
    flight: NDArray[np.bool_]
    mass: float
    loads: dict[str, float]
    positions: F64
    centre: F64
    floor: float
    extra: dict[str, F64] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def measured_offsets(motion: Motion) -> F64:
    """Offsets (22, 3) m of the joints from their parents in the T-pose: medians over the frames.

    Raises:
        PallasError: no frame contains a complete body.
    """
    good = whole_frames(motion)
    if not good.any():
        raise PallasError("no frame contains a complete body")
    parents = list(PARENTS[1:])
    own = rotations.inverse(motion.rotations[good][:, parents])
    bones = motion.positions[good][:, 1:] - motion.positions[good][:, parents]
    offsets = np.zeros((len(JOINTS), 3))
    offsets[1:] = np.median(rotations.rotate(own, bones), axis=0)
    return offsets


def smooth(values: F64, fps: float, cutoff: float = CUTOFF_HZ) -> F64:
    """Low-pass values (T, ...) forwards and backwards, with a ``cutoff`` in Hz.

    Values are returned unchanged if the rate ``fps`` is too low for the filter.
    """
    if not _filters(fps, cutoff):
        return values
    sections = butter(2, cutoff / (fps / 2), output="sos")
    pad = min(len(values) - 1, round(1.5 * fps / cutoff))
    return np.asarray(sosfiltfilt(sections, values, axis=0, padlen=pad))


def _filters(fps: float, cutoff: float) -> bool:
    """Whether the rate is high enough for the low-pass filter."""
    return cutoff < _HIGHEST_CUTOFF * fps


def remarks(motion: Motion, valid: NDArray[np.bool_], cutoff: float) -> list[str]:
    """Sentences about how a motion was processed; empty if there is nothing to mention.

    Args:
        motion: as given to `smoothed`.
        valid: (T,) as returned by `smoothed`.
        cutoff: Hz, of the low-pass filter.
    """
    found = []
    if not _filters(motion.fps, cutoff):
        found.append(
            f"the motion is not filtered, because its rate of {motion.fps:g} Hz is too low for a"
            f" cutoff of {cutoff:g} Hz"
        )
    bridged = int((valid & ~whole_frames(motion)).sum())
    if bridged:
        found.append(f"short gaps ({bridged / motion.fps:.2f} s in total) are interpolated")
    return found


def find_floor(heights: F64) -> float:
    """Height of the ground in m, from the heights of the sole points (T, n) m.

    The lowest point of a walking, squatting or standing body is on the ground in most frames. The
    lower quartile excludes frames in flight, and errors of the filter and the markers.
    """
    return float(np.percentile(heights.min(axis=1), 25))


def analyse(
    motion: Motion,
    human: Human,
    settings: RigidBodySettings | None = None,
    *,
    floor: float | None = None,
    cutoff: float = CUTOFF_HZ,
    progress: Callable[[int], object] = lambda _: None,
) -> Dynamics:
    """Compute the forces of a motion.

    Args:
        motion: in the world, z up; invalid frames are interpolated, and invalid in the result.
        human: the person.
        settings: contacts and their costs.
        floor: m, height of the ground; None to estimate it.
        cutoff: Hz, of the low-pass filter.
        progress: called with the number of frames done.

    Raises:
        PallasError: the motion is too short, or no frame is valid.
    """
    p, q, valid = smoothed(motion, cutoff)
    body = RigidBody(human, settings)
    steps = states(q, p, motion.fps)
    R = _float(rotations.to_matrix(q))
    placed = placed_joints(human.offsets, R, p)
    soles = body.soles(placed, R)
    speed = np.linalg.norm(np.gradient(soles, 1 / motion.fps, axis=0), axis=-1)
    if floor is None:
        floor = find_floor(soles[valid][..., 2].reshape(int(valid.sum()), -1))
    hips = [JOINT_INDEX[f"{side}_hip"] for side in SIDES]
    body.seat = float(np.percentile(placed[valid][:, hips, 2], _SEAT_PERCENTILE))
    standing = _standing(motion)
    frames = []
    for index, each in enumerate(steps):
        frames.append(
            body.solve(each, floor, speed[index], None if standing is None else standing[index])
        )
        progress(1)
    dynamics = _assembled(motion, human, frames, valid, floor)
    dynamics.remarks = remarks(motion, valid, cutoff)
    return dynamics


def smoothed(motion: Motion, cutoff: float = CUTOFF_HZ) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Pelvis positions (T, 3) m and orientations (T, 22, 4) xyzw of a motion, with gaps
    interpolated and low-pass filtered, and whether each frame is known (T,).

    Raises:
        PallasError: the motion is too short, or too few frames are valid.
    """
    _check(motion)
    p, q, valid = _bridged(motion)
    p = smooth(p, motion.fps, cutoff)
    q = _float(rotations.normalise(smooth(_float(rotations.continuous(q)), motion.fps, cutoff)))
    return p, q, valid


def placed_joints(offsets: F64, R_world_joint: F64, p_world_pelvis: F64) -> F64:
    """Joints (T, 22, 3) m of a body with ``offsets`` (22, 3) m from parent to joint."""
    skeleton = Skeleton(offsets.copy(), 0.0, 0.0, 0.0)
    return _float(forward_kinematics_matrices(skeleton, R_world_joint, p_world_pelvis))


def _float(values: Array) -> F64:
    return np.asarray(values, dtype=np.float64)


def _whole(motion: Motion) -> NDArray[np.bool_]:
    """(T,) whether all joints of a frame are finite."""
    good = np.isfinite(motion.positions).all(axis=(1, 2))
    good &= np.isfinite(motion.rotations).all(axis=(1, 2))
    return np.asarray(good)


def _check(motion: Motion) -> None:
    if len(motion) < LEAST_FRAMES or motion.duration < LEAST_S:
        raise PallasError(
            f"the motion has {len(motion)} frames in {motion.duration:.2f} s: forces need at least "
            f"{LEAST_FRAMES} frames and {LEAST_S:g} s"
        )


def whole_frames(motion: Motion) -> NDArray[np.bool_]:
    """(T,) whether a frame is whole and valid."""
    whole = _whole(motion)
    return whole if motion.valid is None else whole & motion.valid


def _bridged(motion: Motion) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Pelvis (T, 3) m and orientations (T, 22, 4) without gaps, and which frames are valid (T,)."""
    good = whole_frames(motion)
    if good.sum() < LEAST_FRAMES:
        raise PallasError(
            f"only {int(good.sum())} of {len(motion)} frames contain a complete body: forces need"
            f" at least {LEAST_FRAMES}"
        )
    at = np.flatnonzero(good)
    times = np.arange(len(motion))
    q = np.asarray(rotations.continuous(motion.rotations[good]))
    flat = np.concatenate((motion.positions[good][:, 0], q.reshape(len(q), -1)), axis=1)
    filled = np.stack([np.interp(times, at, column) for column in flat.T], axis=1)
    valid = good.copy()
    edge = max(round(_EDGE_S * motion.fps), 1)
    for start, stop in _gaps(good):
        short = stop - start <= _LONGEST_GAP_S * motion.fps and start > 0 and stop < len(good)
        if short:
            valid[start:stop] = True
        else:
            valid[max(start - edge, 0) : stop + edge] = False
    valid[:edge] = False
    valid[-edge:] = False
    if not valid.any():
        raise PallasError(
            f"no part without gaps is longer than {2 * edge} frames: forces need the frames before"
            " and after each instant"
        )
    orientation = rotations.normalise(filled[:, 3:].reshape(len(times), len(JOINTS), 4))
    return filled[:, :3], np.asarray(orientation), valid


def _gaps(good: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Ranges [start, stop) of frames that are not ``good``."""
    padded = np.concatenate(([True], good, [True])).astype(np.int8)
    change = np.diff(padded)
    return list(zip(np.flatnonzero(change < 0).tolist(), np.flatnonzero(change > 0).tolist()))


def _standing(motion: Motion) -> F64 | None:
    """Foot contacts (T, 2) of the motion, or None if it has none."""
    contacts = (motion.extra or {}).get("contacts")
    if contacts is None or contacts.shape != (len(motion), 2) or not np.any(contacts):
        return None
    return np.asarray(contacts, dtype=np.float64)


def _assembled(
    motion: Motion, human: Human, frames: list[Frame], valid: NDArray[np.bool_], floor: float
) -> Dynamics:
    flight = np.array([frame.support == FLIGHT for frame in frames])
    names = list(frames[0].extra)
    return Dynamics(
        t=np.arange(len(frames)) / motion.fps,
        moment=np.stack([frame.moment for frame in frames]),
        ground_reaction=np.stack([frame.ground_reaction for frame in frames]),
        residual=np.stack([frame.residual for frame in frames]),
        valid=valid,
        flight=flight,
        mass=human.mass,
        loads={side: human.loads[side] for side in SIDES},
        positions=np.stack([frame.positions for frame in frames]),
        centre=np.stack([frame.centre for frame in frames]),
        floor=floor,
        extra={name: np.stack([frame.extra[name] for frame in frames]) for name in names},
    )
