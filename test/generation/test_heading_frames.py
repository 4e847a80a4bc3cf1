"""Frames relative to the heading."""

import numpy as np

from hpstm_ros.generation import heading_frames, representation
from pallas_ros.body import rotations
from pallas_ros.imu.motions import demo_motion


def _motion() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    motion = demo_motion(duration=8.0)
    q = motion.rotations[240::2]
    root = motion.positions[240::2, 0]
    return q, root, np.tile([1.0, 0.0], (len(q), 1))


def test_there_and_back() -> None:
    q, root, contacts = _motion()
    frames = heading_frames.encode(q, root, contacts)
    place = representation.place_of(q[0, 0], root[0])
    expected = representation.encode(q, root, contacts, place)
    assert np.abs(heading_frames.to_world(frames) - expected).max() < 1e-4


def test_where_and_which_way_does_not_matter() -> None:
    q, root, contacts = _motion()
    turn = rotations.about_z(np.float64(2.1))
    turned = rotations.multiply(np.broadcast_to(turn, q.shape), q)
    moved = rotations.rotate(np.broadcast_to(turn, (len(q), 4)), root) + [3.0, -1.0, 0.0]
    a = heading_frames.encode(q, root, contacts)
    b = heading_frames.encode(turned, moved, contacts)
    assert np.abs(a - b).max() < 1e-5


def test_a_mirror_of_a_mirror_shows_the_motion() -> None:
    frames = heading_frames.encode(*_motion())
    once = heading_frames.mirrored(frames)
    assert np.abs(heading_frames.mirrored(once) - frames).max() < 1e-5
    direct = representation.mirrored(heading_frames.to_world(frames))
    assert np.abs(heading_frames.to_world(once) - direct).max() < 1e-4
