"""The motion of an arm, mapped to the operator's arm."""

import numpy as np
import pytest

from hpstm_ros.retarget.retargeter import Retargeter
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.teleoperation.mapped_back import mapped_back
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import IDENTITY, about_z, from_rotvec, multiply
from pallas_ros.body.skeleton import Skeleton


def before_the_chest(turned: float) -> Motion:
    """Both arms bent in front of the body, moving slowly; the body faces ``turned`` rad from x."""
    t = np.arange(120) / 60.0
    q = np.tile(IDENTITY, (len(t), 22, 1))
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for joint, bend in (("shoulder", 0.9), ("elbow", 1.9), ("wrist", 1.9)):
            turn = sign * (bend + 0.1 * np.sin(t))
            q[:, JOINT_INDEX[f"{side}_{joint}"]] = from_rotvec(turn[:, None] * [0.0, 0.0, 1.0])
    q = multiply(np.broadcast_to(about_z(turned), q.shape), q)
    root = np.tile([0.3, 0.1, 0.95], (len(t), 1))
    p = forward_kinematics(Skeleton.from_height(), q, root)
    return Motion(60.0, np.asarray(p, np.float64), np.asarray(q, np.float64))


@pytest.mark.parametrize(("name", "sides"), [("panda", ("right",)), ("g1", ("left", "right"))])
def test_an_arm_that_follows_gives_the_motion_it_followed(
    name: str, sides: tuple[str, ...]
) -> None:
    robot = load_robot(name)
    motion = before_the_chest(0.7)
    retargeter = Retargeter(robot, settings=RetargetSettings(iterations=6, speed_factor=20.0))
    goals = [retargeter.step(body) for body in frames(motion)]
    times = np.arange(len(motion)) / motion.fps
    back = mapped_back(motion, times, np.array([goal.q for goal in goals]), robot)
    arrived = np.array([goal.error_m.max() < 0.002 and not goal.projected.any() for goal in goals])
    assert arrived.mean() > 0.5
    wrists = [JOINT_INDEX[f"{side}_wrist"] for side in sides]
    away = np.linalg.norm(back.positions - motion.positions, axis=-1)
    assert away[arrived][:, wrists].max() < 0.005
    rest = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_knee"], JOINT_INDEX["head"]]
    assert away[:, rest].max() < 1e-6


def test_an_arm_that_stands_still_holds_the_hand_where_it_is() -> None:
    robot = load_robot("panda")
    motion = before_the_chest(0.0)
    still = np.tile(robot.q_ready, (2, 1))
    back = mapped_back(motion, np.array([0.0, 2.0]), still, robot)
    shoulder, wrist = (JOINT_INDEX[f"right_{joint}"] for joint in ("shoulder", "wrist"))
    hand = back.positions[:, wrist] - back.positions[:, shoulder]
    assert np.ptp(hand, axis=0).max() < 1e-3
