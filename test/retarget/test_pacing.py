"""Motion slowed to an arm's limits."""

import numpy as np
import pytest

from hpstm_ros.retarget.robots import RobotDescription, load_robot
from hpstm_ros.teleoperation.pacing import ITERATIONS, needed_stretch, pace, settle, slower
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import IDENTITY, from_rotvec, multiply
from pallas_ros.body.skeleton import Skeleton

FPS = 60.0


@pytest.fixture(scope="module")
def panda() -> RobotDescription:
    """The robot."""
    return load_robot("panda")


def swing(seconds: float, period: float, degrees: float = 25.0) -> Motion:
    """The right arm in front of the body, moving up and down by some degrees."""
    t = np.arange(round(seconds * FPS) + 1) / FPS
    q = np.tile(IDENTITY, (len(t), 22, 1))
    angle = np.radians(degrees) * np.sin(2 * np.pi * t / period)
    up = from_rotvec(np.stack([0 * t, -angle, 0 * t], axis=-1))
    forward = np.broadcast_to(from_rotvec(np.array([0, 0, 1.4])), up.shape)
    for joint in ("right_shoulder", "right_elbow", "right_wrist"):
        q[:, JOINT_INDEX[joint]] = multiply(up, forward)
    root = np.tile([0.0, 0.0, 0.95], (len(t), 1))
    return Motion(FPS, np.asarray(forward_kinematics(Skeleton.from_height(), q, root)), q)


def test_a_faster_motion_needs_more_time(panda: RobotDescription) -> None:
    slow, fast = (needed_stretch(swing(3.0, period), panda) for period in (12.0, 1.0))
    assert slow < 1.5 < fast


def test_a_slower_motion_lasts_longer_and_ends_the_same() -> None:
    motion = swing(2.0, 2.0)
    stretched = slower(motion, 1.7)
    assert stretched.fps == FPS
    assert stretched.duration == pytest.approx(3.4, abs=0.02)
    assert np.abs(stretched.positions[-1] - motion.positions[-1]).max() < 0.02


def test_a_longer_motion_is_requested_if_needed(panda: RobotDescription) -> None:
    paced = pace(lambda seconds: swing(seconds, 0.5 * seconds), 2.0, 60.0, panda)
    assert 2 <= len(paced.asked) <= 1 + ITERATIONS
    assert paced.asked[1] > 2 * paced.asked[0]
    assert paced.stretch < 1.3
    assert needed_stretch(paced.motion, panda) < 1.1


def test_at_most_two_more_motions_are_requested() -> None:
    _, asked = settle(lambda seconds: (None, 1.1 * seconds), 4.0, 30.0)
    assert len(asked) == 1 + ITERATIONS


def test_a_generator_that_cannot_generate_longer_motion_is_asked_once(
    panda: RobotDescription,
) -> None:
    paced = pace(lambda seconds: swing(2.0, 1.0), 2.0, 2.0, panda)
    assert len(paced.asked) == 1
    assert paced.motion.duration > 1.5 * 2.0 - 0.1


def test_a_longer_motion_with_more_movement_is_discarded(panda: RobotDescription) -> None:
    """A generator that waves for longer, not more slowly, does not make the arm wave for longer."""
    once = pace(lambda seconds: swing(seconds, 1.0), 2.0, 2.0, panda)
    paced = pace(lambda seconds: swing(seconds, 1.0), 2.0, 60.0, panda)
    assert len(paced.asked) == 2
    assert paced.asked[1] > 1.5 * 2.0
    assert paced.motion.duration == once.motion.duration


def test_the_best_of_the_attempts_is_returned() -> None:
    needed = {4.0: 10.0, 10.0: 11.0, 11.0: 11.2}
    assert settle(lambda s: (s, needed[s]), 4.0, 30.0) == (11.0, (4.0, 10.0, 11.0))
    assert settle(lambda s: (s, {4.0: 10.0, 10.0: 25.0}[s]), 4.0, 30.0) == (4.0, (4.0, 10.0))
    assert settle(lambda s: (s, 4.1), 4.0, 30.0) == (4.0, (4.0,))


def test_a_longer_request_that_fails_keeps_the_best_so_far() -> None:
    def attempt(seconds: float) -> tuple[float, float]:
        if seconds > 10.0:
            raise PallasError(f"a motion of {seconds:g} s was asked for, but at most 10 s exist")
        return seconds, 64.0

    assert settle(attempt, 4.0, 30.0) == (4.0, (4.0, 30.0))
    assert settle(attempt, 4.0, 10.0) == (10.0, (4.0, 10.0))
    with pytest.raises(PallasError, match="20 s was asked for"):
        settle(attempt, 20.0, 30.0)


def test_accelerations_need_time(panda: RobotDescription) -> None:
    """A tremble is within the velocity limits, but not within those of the accelerations."""
    assert needed_stretch(swing(3.0, 0.25, degrees=0.2), panda, tip_speed=2.0) < 1.05
    assert needed_stretch(swing(3.0, 0.25, degrees=2.0), panda, tip_speed=2.0) > 1.2


def test_only_fast_parts_are_slowed(panda: RobotDescription) -> None:
    """One fast second within ten slow ones does not slow the others."""
    calm = swing(5.0, 40.0)
    quick = swing(1.0, 1.0)
    parts = (calm.rotations, quick.rotations, calm.rotations[::-1])
    q = np.concatenate(parts)
    p = np.concatenate((calm.positions, quick.positions, calm.positions[::-1]))
    motion = Motion(FPS, p, q)
    everywhere = needed_stretch(motion, panda)
    paced = pace(lambda seconds: motion, motion.duration, motion.duration, panda)
    assert everywhere > 1.5
    assert paced.motion.duration < 0.75 * everywhere * motion.duration
    assert needed_stretch(paced.motion, panda) < 1.25
    assert np.abs(paced.motion.positions[-1] - motion.positions[-1]).max() < 0.02
