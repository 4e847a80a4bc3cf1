"""Scripted motions, smooth and plausible: demonstration (T-pose, walk, reach, wave, lift), guided
calibration, everyday movements.

Every joint angle is a quintic (minimum-jerk) transition between named poses, so that velocity and
acceleration are zero at every pose and jerk is bounded; walks follow a measured gait
(`pallas_ros.imu.gait`) that fades in and out. The hands stay in front of the wearer, where a robot
arm of the same reach can follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics, to_global
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MODEL_RATE_HZ
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.gait import SPEED_MPS, STRIDES_HZ, gait

STILL_S = 3.0
"""Seconds of still T-pose at the beginning of the motion: calibration needs about two."""


@dataclass(frozen=True, slots=True)
class _Arm:
    """Pose of one arm in degrees, for the left; the right mirrors it.

    From the T-pose: ``lower`` 90 hangs the arm at the side, ``forward`` swings it to the front (in
    the horizontal plane when not lowered), ``flex`` bends the elbow, ``twist`` rotates the upper
    arm about its own axis (positive: a bent forearm points up when the arm is level, inward when it
    hangs).
    """

    lower: float = 0.0
    forward: float = 0.0
    flex: float = 0.0
    twist: float = 0.0


@dataclass(frozen=True, slots=True)
class _Pose:
    """Whole-body pose in degrees: arms, trunk bend and turn, knee bend, head nod, heading."""

    left: _Arm = _Arm()
    right: _Arm = _Arm()
    bend: float = 0.0
    turn: float = 0.0
    crouch: float = 0.0
    nod: float = 0.0
    about: float = 0.0


_REST = _Arm(lower=72.0, forward=8.0, flex=18.0, twist=20.0)
_READY = _Arm(lower=60.0, forward=25.0, flex=75.0, twist=45.0)
_REACH = _Arm(lower=20.0, forward=75.0, flex=25.0, twist=20.0)
_REACH_UP = _Arm(lower=-20.0, forward=70.0, flex=35.0, twist=30.0)
_REACH_SIDE = _Arm(lower=15.0, forward=35.0, flex=30.0, twist=30.0)
_WAVE = _Arm(lower=15.0, forward=25.0, flex=85.0, twist=80.0)
_WAVE_OUT = _Arm(lower=15.0, forward=25.0, flex=50.0, twist=80.0)
_LOW = _Arm(lower=48.0, forward=52.0, flex=25.0, twist=15.0)
_CARRY = _Arm(lower=55.0, forward=40.0, flex=80.0, twist=40.0)

_Script = tuple[tuple[float, _Pose], ...]
"""Duration of a transition in s, then its target pose; a repeated pose is held."""

_DEMO: _Script = (
    (1.6, _Pose(_REST, _REST)),
    (0.4, _Pose(_REST, _REST)),
    (6.0, _Pose(_REST, _REST)),  # the walk happens here
    (1.4, _Pose(_READY, _READY, nod=5)),
    (1.5, _Pose(_REACH, _READY, bend=8, turn=-8, nod=5)),
    (1.4, _Pose(_REACH_UP, _READY, bend=2, nod=-6)),
    (1.5, _Pose(_READY, _REACH, bend=8, turn=8, nod=5)),
    (1.4, _Pose(_READY, _REACH_SIDE, turn=-15)),
    (1.5, _Pose(_REACH_SIDE, _READY, turn=15)),
    (1.4, _Pose(_REST, _WAVE)),
    (0.7, _Pose(_REST, _WAVE_OUT)),
    (0.7, _Pose(_REST, _WAVE)),
    (0.7, _Pose(_REST, _WAVE_OUT)),
    (0.7, _Pose(_REST, _WAVE)),
    (1.4, _Pose(_WAVE, _REST)),
    (0.7, _Pose(_WAVE_OUT, _REST)),
    (0.7, _Pose(_WAVE, _REST)),
    (1.5, _Pose(_READY, _READY)),
    (1.8, _Pose(_LOW, _LOW, bend=42, crouch=45, nod=-15)),
    (0.5, _Pose(_LOW, _LOW, bend=42, crouch=45, nod=-15)),
    (1.9, _Pose(_CARRY, _CARRY, bend=4)),
    (1.5, _Pose(_CARRY, _CARRY, turn=25)),
    (1.5, _Pose(_CARRY, _CARRY, turn=-20)),
    (1.6, _Pose(_REST, _REST)),
)
_WALK_AT = 2  # index of the walk in the demonstration

_T = _Pose()
_N = _Pose(_Arm(lower=90.0), _Arm(lower=90.0))
_FLEXED = _Pose(_Arm(lower=90.0, flex=85.0), _Arm(lower=90.0, flex=85.0))
_BOWED = _Pose(_Arm(lower=90.0), _Arm(lower=90.0), bend=55.0)
_CALIBRATION: _Script = (
    *((0.0, _N), (3.5, _N), (1.5, _T), (3.5, _T), (1.5, _N), (1.8, _N)),
    *((0.9, _FLEXED), (0.9, _N), (0.9, _FLEXED), (0.9, _N), (1.8, _N)),
    *((1.3, _BOWED), (1.3, _N), (1.3, _BOWED), (1.3, _N), (1.8, _N)),
    *((1.5, _Pose(_N.left, _N.right, about=80.0)), (1.5, _N), (2.0, _N)),
)


def minimum_jerk(fraction: Array) -> Array:
    """Minimum-jerk transition from 0 to 1 (Flash and Hogan 1985); constant outside 0 to 1."""
    s = np.clip(fraction, 0.0, 1.0)
    return np.asarray(s**3 * (10 - 15 * s + 6 * s**2))


def demo_motion(
    duration: float = 30.0, fps: float = MODEL_RATE_HZ, skeleton: Skeleton | None = None
) -> Motion:
    """Return the demonstration: 3 s of T-pose, then walk, reach, wave and lift until ``duration``
    s.

    Returns:
        A `Motion` of ``round(duration * fps) + 1`` frames that starts at the origin, facing +x.
    """
    script: list[tuple[float, _Pose]] = [(STILL_S, _T), *_DEMO]
    walks = [1 + _WALK_AT]
    while sum(seconds for seconds, _ in script) < duration:
        walks.append(len(script) + _WALK_AT - 1)
        script += _DEMO[1:]
    return _play(script, walks, duration, fps, skeleton)


def calibration_motion(
    functional: bool = True,
    fps: float = MODEL_RATE_HZ,
    skeleton: Skeleton | None = None,
    sloppy: Array | None = None,
) -> Motion:
    """Return the guided calibration (`guided`), with elbows, bow and turn if ``functional``.

    ``sloppy``: numbers in degrees added to the angles of successive poses, to simulate an imprecise
    wearer.
    """
    script = _CALIBRATION if functional else _CALIBRATION[:6]
    if sloppy is not None:
        missed: dict[_Pose, _Pose] = {}
        script = tuple(
            (seconds, missed.setdefault(pose, _missed(pose, sloppy[11 * len(missed) :])))
            for seconds, pose in script
        )
    return _play(script, [], sum(seconds for seconds, _ in script), fps, skeleton)


def _missed(pose: _Pose, by: Array) -> _Pose:
    """Return a pose with all arm angles, bend, turn and nod changed by numbers in degrees."""
    left, right = (
        _Arm(arm.lower + d[0], arm.forward + d[1], arm.flex + abs(d[2]), arm.twist + d[3])
        for arm, d in ((pose.left, by[:4]), (pose.right, by[4:8]))
    )
    return _Pose(
        left,
        right,
        pose.bend + by[8],
        pose.turn + by[9],
        pose.crouch,
        pose.nod + by[10],
        pose.about,
    )


def everyday_motion(
    duration: float, seed: int = 0, fps: float = MODEL_RATE_HZ, skeleton: Skeleton | None = None
) -> Motion:
    """Return the demonstration's poses in random order, with variation, walks and rests.

    Speeds are random too. It begins like the demonstration.
    """
    rng = np.random.default_rng(seed)
    script: list[tuple[float, _Pose]] = [(STILL_S, _T)]
    walks: list[int] = []
    while sum(seconds for seconds, _ in script) < duration:
        choice = rng.random()
        if choice < 0.15:
            walks.append(len(script) + 1)
            script += [
                (1.5, _Pose(_REST, _REST)),
                (float(rng.uniform(4.0, 9.0)), _Pose(_REST, _REST)),
            ]
        elif choice < 0.3:
            pose = _varied(_Pose(_REST, _REST), rng)
            script += [(1.5, pose), (float(rng.uniform(1.0, 6.0)), pose)]
        else:
            pose = _varied(_DEMO[rng.integers(3, len(_DEMO))][1], rng)
            script += [(float(rng.uniform(1.2, 2.6)), pose), (float(rng.uniform(0.0, 1.5)), pose)]
    return _play(script, walks, duration, fps, skeleton)


def _varied(pose: _Pose, rng: np.random.Generator) -> _Pose:
    arms = []
    for arm in (pose.left, pose.right):
        lower, forward, flex, twist = rng.normal(0.0, (8.0, 12.0, 8.0, 8.0))
        arms.append(
            _Arm(
                arm.lower + lower,
                arm.forward + forward,
                max(arm.flex + flex, 5.0),
                arm.twist + twist,
            )
        )
    turn, bend = rng.normal(0.0, (6.0, 3.0))
    return _Pose(
        arms[0], arms[1], pose.bend + bend, pose.turn + turn, pose.crouch, pose.nod, pose.about
    )


def _play(
    script: Sequence[tuple[float, _Pose]],
    walks: Sequence[int],
    duration: float,
    fps: float,
    skeleton: Skeleton | None,
) -> Motion:
    """Convert a script to a motion; the body walks during the transitions ``walks`` (indices)."""
    body = skeleton or Skeleton.from_height()
    time = np.arange(round(duration * fps) + 1) / fps
    angles, walk, phase, travelled = _angles(script, walks, time)
    q_parent = _local_rotations(angles, walk, phase)
    q_parent[:, 0] = rotations.multiply(
        rotations.about_z(_course(travelled) + angles["about"]), q_parent[:, 0]
    )
    q_world = to_global(q_parent)
    positions = forward_kinematics(body, q_world, np.zeros((len(time), 3)))
    positions += _root(body, positions, fps, walk, phase)[:, None]
    return Motion(float(fps), np.asarray(positions, np.float64), np.asarray(q_world, np.float64))


_KEYS = (
    "l_lower",
    "l_forward",
    "l_flex",
    "l_twist",
    "r_lower",
    "r_forward",
    "r_flex",
    "r_twist",
    "bend",
    "turn",
    "crouch",
    "nod",
    "about",
)


def _numbers(pose: _Pose) -> Array:
    arms = [
        value
        for arm in (pose.left, pose.right)
        for value in (arm.lower, arm.forward, arm.flex, arm.twist)
    ]
    return np.radians([*arms, pose.bend, pose.turn, pose.crouch, pose.nod, pose.about])


def _angles(
    script: Sequence[tuple[float, _Pose]], walks: Sequence[int], time: Array
) -> tuple[dict[str, Array], Array, Array, Array]:
    """Return joint angles by name, walk intensity 0 to 1, stride phase in rad and distance in m,
    each (T,).
    """
    walk = np.zeros(len(time))
    start = 0.0
    previous = _numbers(script[0][1])
    values = np.tile(previous, (len(time), 1))
    for step, (seconds, pose) in enumerate(script):
        target = _numbers(pose)
        during = slice(*np.searchsorted(time, (start, start + seconds)))
        values[during] = (
            previous
            + (target - previous)
            * minimum_jerk((time[during] - start) / max(seconds, 1e-9))[:, None]
        )
        if step in walks:
            fade = np.minimum(time[during] - start, start + seconds - time[during]) / 1.5
            walk[during] = minimum_jerk(fade)
        start = start + seconds
        previous = target
    values[np.searchsorted(time, start) :] = previous
    step_s = np.diff(time, prepend=time[0])
    phase = np.cumsum(walk * step_s) * 2 * np.pi * STRIDES_HZ
    return (
        dict(zip(_KEYS, values.T, strict=True)),
        walk,
        phase,
        np.cumsum(walk * step_s) * SPEED_MPS,
    )


def _course(travelled: Array) -> Array:
    """Heading in rad after a distance in m: a gentle slalom, so that it is not always +x."""
    return np.asarray(np.radians(25.0) * np.sin(2 * np.pi * travelled / 8.0))


def _local_rotations(angle: dict[str, Array], walk: Array, phase: Array) -> Array:
    """Local rotations (T, 22, 4) xyzw; the pelvis relative to the heading."""
    q = np.tile(rotations.IDENTITY, (len(walk), len(JOINTS), 1))

    def turn(joint: str, axis: tuple[int, int, int], radians: Array) -> None:
        vector = np.asarray(axis, dtype=np.float64) * radians[:, None]
        q[:, JOINT_INDEX[joint]] = rotations.multiply(
            q[:, JOINT_INDEX[joint]], rotations.from_rotvec(vector)
        )

    x = (1, 0, 0)
    y = (0, 1, 0)
    z = (0, 0, 1)
    turn("pelvis", y, 0.35 * angle["bend"])
    for joint, bend, twist in (
        ("spine1", 0.22, 0.25),
        ("spine2", 0.22, 0.35),
        ("spine3", 0.21, 0.40),
    ):
        turn(joint, z, twist * angle["turn"])
        turn(joint, y, bend * angle["bend"])
    for joint in ("neck", "head"):
        turn(joint, y, 0.5 * angle["nod"] - 0.15 * angle["bend"])
        turn(joint, z, 0.10 * angle["turn"])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm = {key: angle[f"{side[0]}_{key}"] for key in ("lower", "forward", "flex", "twist")}
        turn(f"{side}_collar", x, -sign * 0.10 * arm["lower"])
        turn(f"{side}_collar", z, -sign * 0.08 * arm["forward"])
        turn(f"{side}_shoulder", z, -sign * 0.92 * arm["forward"])
        turn(f"{side}_shoulder", x, -sign * 0.90 * arm["lower"])
        turn(f"{side}_shoulder", y, -arm["twist"])
        turn(f"{side}_elbow", z, -sign * arm["flex"])
        knee = 1.6 * angle["crouch"]
        hip = -0.35 * angle["bend"] - 0.8 * angle["crouch"]
        turn(f"{side}_hip", y, hip)
        turn(f"{side}_knee", y, knee)
        turn(f"{side}_ankle", y, -hip - knee - 0.35 * angle["bend"])
    for joint, vector in gait(phase).items():
        # from the parent's side: the arm swings about the trunk's axes however it is held
        i = JOINT_INDEX[joint]
        q[:, i] = rotations.multiply(rotations.from_rotvec(walk[:, None] * vector), q[:, i])
    return q


_FEET = [
    [JOINT_INDEX[f"{side}_{part}"] for part in ("ankle", "foot")] for side in ("left", "right")
]


def _root(body: Skeleton, positions: Array, fps: float, walk: Array, phase: Array) -> Array:
    """Position of the pelvis (T, 3) m that keeps the stance foot in place; smoothed.

    Each foot is in contact at its lower point; both carry the body equally, except in a walk,
    where the phase says which one does.
    """
    points = positions[:, _FEET] - np.array([0.0, 0.0, 1.0]) * body.rest_positions[_FEET]
    soft = 0.03  # m: avoids a jerk of the pelvis when the foot rolls from heel to toe
    rolls = np.exp((points.min(axis=2, keepdims=True) - points)[..., 2] / soft)
    rolls /= rolls.sum(axis=2, keepdims=True)
    # The foot that moves backwards under the pelvis stands. Lag and sharpness are those with which
    # the speed of the waist varies most like that of those walks.
    left = 1 / (1 + np.exp(5.0 * walk * np.cos(phase - 0.4)))
    weight = rolls * np.stack((left, 1 - left), axis=1)[..., None]
    height = -np.sum(weight * points[..., 2], axis=(1, 2))
    step = -np.einsum("tfp,tfpk->tk", weight, np.gradient(points[..., :2], axis=0))
    step = gaussian_filter1d(step, 0.12 * fps, axis=0, mode="nearest")
    return np.column_stack(
        (np.cumsum(step, axis=0) - step[0], gaussian_filter1d(height, 0.05 * fps, mode="nearest"))
    )
