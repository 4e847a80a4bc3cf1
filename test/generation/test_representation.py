"""The representation of generated motion: round trip, mirroring, and in torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpstm_ros.generation import representation as rep
from hpstm_ros.model.motion_features import FeatureKinematics
from hpstm_ros.train.windows import MotionWindows
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.packs import PackClip


def some_motion(frames: int = 60, seed: int = 0, height: float = 1.75, fps: float = 60.0) -> Motion:
    """A smooth random motion."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / fps
    turn = rng.normal(0, 0.4, (len(JOINTS), 3)) + 0.3 * np.sin(t * rng.uniform(1, 4, (22, 3)))
    q = rotations.from_rotvec(turn)
    root = np.cumsum(rng.normal(0, 0.005, (frames, 3)), axis=0) + [3.0, -2.0, 1.0]
    p = forward_kinematics(Skeleton.from_height(height), q, root)
    contacts = rng.random((frames, 2)) < 0.5
    return Motion(fps, np.asarray(p, np.float64), np.asarray(q), extra={"contacts": contacts})


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_motion_goes_there_and_back(seed):
    motion = some_motion(40, seed, fps=30.0)
    features, place = rep.from_motion(motion)
    assert features.shape == (40, rep.FEATURES)
    np.testing.assert_allclose(features[0, :2], 0, atol=1e-6)
    back = rep.to_motion(features, place, fps=30.0)
    np.testing.assert_allclose(back.positions, motion.positions, atol=2e-5)
    assert rotations.angle_between(back.rotations, motion.rotations).max() < 1e-4
    np.testing.assert_array_equal(back.extra["contacts"], motion.extra["contacts"])


def test_another_body_has_the_path_of_its_size():
    motion = some_motion(40, height=1.95, fps=30.0)
    features, place = rep.from_motion(motion)
    back = rep.to_motion(features, place, Skeleton.from_height(1.95), fps=30.0)
    np.testing.assert_allclose(back.positions, motion.positions, atol=1e-4)


def test_bones_keep_their_lengths_whatever_the_features():
    features = np.random.default_rng(0).normal(size=(5, rep.FEATURES))
    p = rep.positions(features)
    lengths = np.linalg.norm(p[:, 1:] - p[:, list(PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(
        lengths, np.broadcast_to(Skeleton.from_height().lengths[1:], lengths.shape), atol=1e-12
    )


def test_the_mirrored_motion_is_what_a_mirror_shows():
    features, _ = rep.from_motion(some_motion())
    mirrored = rep.mirrored(features)
    expected = rep.positions(features)[:, list(MIRROR)] * [1, -1, 1]
    np.testing.assert_allclose(rep.positions(mirrored), expected, atol=1e-6)
    np.testing.assert_allclose(rep.mirrored(mirrored), features, atol=1e-6)


def test_torch_agrees_with_numpy():
    features, _ = rep.from_motion(some_motion())
    torch_positions = FeatureKinematics()(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(torch_positions, rep.positions(features), atol=1e-5)


def test_a_motion_that_is_not_finite_is_refused():
    motion = some_motion()
    motion.positions[3] = np.nan
    with pytest.raises(PallasError, match="not finite"):
        rep.from_motion(motion)


def test_windows_are_pieces_of_clips():
    clips = [
        PackClip("user", f"clip_{n}", "walk", "", some_motion(n, n), "") for n in (40, 100, 500)
    ]
    library = MotionLibrary.from_clips(clips)
    windows = MotionWindows(library, library.clips, lambda clip, mirror: [f"{clip.name} {mirror}"])
    assert len(windows.clips) == 2  # the shortest shows a fragment
    batch = windows.draw(np.random.default_rng(0), 8)
    assert batch.features.shape == (8, rep.FRAMES, rep.FEATURES)
    for window, valid in zip(batch.windows, batch.valid, strict=True):
        assert valid.sum() == window.frames
        assert windows.descriptions(window) == [f"{window.clip.name} {window.mirrored}"]
    whole = windows.cover(4.0)
    assert [w.start for w in whole] == [library.clips[2].start, library.clips[2].start + 240]
    features, place = windows.features(whole[0])
    _, root, _ = rep.decode(features, place)
    np.testing.assert_allclose(root, library.root[whole[0].start :][:240:2], atol=1e-5)
