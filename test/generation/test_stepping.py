"""The trajectory is derived from standing feet."""

import numpy as np

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.request import resting
from hpstm_ros.generation.stepping import path_by_feet
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX

TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


def sliding(contacts):
    """A body at rest that is translated forward at 1 m/s."""
    features, _ = rep.from_motion(resting(2.0))
    features[:, 0] = np.arange(len(features)) / rep.FPS
    features[:, rep.CONTACTS] = contacts
    return features


def test_feet_that_stand_do_not_slide():
    toes = rep.positions(path_by_feet(sliding([1.0, 1.0])))[:, TOES]
    assert np.abs(toes - toes[0]).max() < 1e-6


def test_without_contact_the_path_is_as_drawn():
    features = sliding([0.0, 0.0])
    np.testing.assert_allclose(path_by_feet(features), features, atol=1e-6)


def test_of_two_feet_the_one_that_is_still_leads():
    """The right foot is labelled as standing but swings; the left foot stays in place."""
    features = sliding([1.0, 1.0])
    features[:, 0] = 0.0
    p = rep.positions(features)
    swing = np.linspace(0.0, -0.6, len(features))  # turns the right leg about its hip
    q, root, contacts = rep.decode(features)
    for joint in ("right_hip", "right_knee", "right_ankle", "right_foot"):
        turn = rotations.from_rotvec(np.stack((0 * swing, swing, 0 * swing), -1))
        q[:, JOINT_INDEX[joint]] = rotations.multiply(turn, q[:, JOINT_INDEX[joint]])
    found = rep.positions(path_by_feet(rep.encode(q, root, contacts, rep.Place())))
    moved = np.linalg.norm(found[:, TOES[0]] - p[:, TOES[0]], axis=-1)
    assert moved.max() < 0.1
    assert np.linalg.norm(found[-1, TOES[1]] - found[0, TOES[1]]) > 0.3


def test_one_frame_is_left_alone():
    features = sliding([1.0, 1.0])[:1]
    assert path_by_feet(features) is features
