"""Unobserved values are bridged and then predicted; observed ones are kept; the covariance is
calibrated.
"""

import numpy as np
import pytest
import torch

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.bridging import bridged, reference_frame
from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.model.expectation import ExpectationConfig, ExpectationNet
from hpstm_ros.train.expectation import (
    AHEAD,
    PAST,
    ExpectationSettings,
    export,
    load_model,
    loss,
    make_batch,
    pattern,
    train,
)
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.imu.motions import demo_motion
from pallas_ros.train.loop import LoopSettings

J = len(JOINTS)


def windows(count: int = 3) -> np.ndarray:
    """Windows (count, 120, 137) of a motion."""
    features, _ = rep.from_motion(demo_motion(4.0 * count + 1))
    return np.stack([features[120 * k : 120 * k + 120] for k in range(count)])


def hidden(part: slice, joints=slice(None), count: int = 3) -> np.ndarray:
    """Visibility (count, 120, 22) with some joints hidden in some frames."""
    seen = np.ones((count, rep.FRAMES, J), dtype=bool)
    seen[:, part, joints] = False
    return seen


def test_a_gap_is_bridged_in_a_straight_line_and_ends_are_held():
    truth = windows()
    out = bridged(truth, hidden(slice(40, 60)))
    between = truth[:, 39] + 10 / 21 * (truth[:, 60] - truth[:, 39])
    np.testing.assert_allclose(out[:, 49, rep.ROOT], between[:, rep.ROOT], atol=1e-5)
    np.testing.assert_allclose(rep.positions(out[:, 49]), rep.positions(between), atol=0.02)
    ahead = bridged(truth, hidden(slice(30, None)))
    np.testing.assert_allclose(ahead[:, 100], truth[:, 29], atol=1e-5)
    before = bridged(truth, hidden(slice(None, 10)))
    np.testing.assert_allclose(before[:, 3], truth[:, 10], atol=1e-5)


def test_a_limb_that_is_not_seen_turns_with_the_body():
    """Regression: its orientation in the world was held, so an arm stayed behind when the trunk
    turned.
    """
    truth = windows(1)
    q, root, contacts = rep.decode(truth[0])
    turn = rotations.about_z(np.linspace(0.0, 1.5, len(q)))
    still = np.repeat(q[:1], len(q), 0)
    q = rotations.multiply(np.broadcast_to(turn[:, None], still.shape), still)
    truth = rep.encode(q, np.repeat(root[:1], len(q), 0), contacts, rep.Place())[None]
    arm = [JOINT_INDEX[f"right_{n}"] for n in ("shoulder", "elbow", "wrist")]
    out = bridged(truth, hidden(slice(45, 75), arm, count=1))
    np.testing.assert_allclose(rep.positions(out), rep.positions(truth), atol=1e-3)


def test_hidden_values_do_not_leak():
    """This includes the contacts of hidden feet, which would leak information to the network."""
    truth = windows()
    seen = hidden(slice(30, None))
    other = truth.copy()
    other[:, 30:] = 7.0
    np.testing.assert_array_equal(bridged(truth, seen), bridged(other, seen))
    legs = [JOINT_INDEX[n] for n in ("left_hip", "left_knee", "left_ankle", "left_foot")]
    seen = hidden(slice(50, 70), legs)
    other = truth.copy()
    other[:, 50:70, rep.CONTACTS.start] = 7.0
    np.testing.assert_array_equal(bridged(truth, seen), bridged(other, seen))


def test_a_joint_that_is_never_seen_stays_as_given():
    truth = windows()
    seen = hidden(slice(None), [5])
    np.testing.assert_array_equal(bridged(truth, seen), truth)


@pytest.mark.parametrize(
    ("seen", "frame"),
    [
        (hidden(slice(30, None))[0], 29),
        (hidden(slice(45, 75))[0], 44),
        (hidden(slice(45, 75), [3])[0], 44),
        (hidden(slice(None, 20))[0], 20),
        (hidden(slice(0, 0))[0], 0),
    ],
)
def test_the_reference_is_the_last_body_before_something_is_lost(seen, frame):
    assert reference_frame(seen) == frame


def test_a_start_that_is_cut_off_does_not_move_the_reference():
    seen = hidden(slice(50, None))[0]
    seen[:20] = False
    assert reference_frame(seen) == 49


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    """The same motion for training and validation."""
    motion = demo_motion(12.0)
    frames = len(motion)
    q = np.round(np.concatenate([motion.rotations] * 2) * 32767).astype(np.int16)
    root = np.concatenate([motion.positions[:, 0]] * 2).astype(np.float32)
    clips = tuple(
        LibraryClip("test", split, split, "", split, k * frames, (k + 1) * frames)
        for k, split in enumerate(("train", "validation"))
    )
    return MotionLibrary(clips, q, root, np.ones((2 * frames, 2), np.bool_))


def test_what_is_seen_is_not_changed(tiny_expectation):
    truth = windows()
    seen = hidden(slice(45, 75), [JOINT_INDEX["right_elbow"]])
    mean, deviation = tiny_expectation.expect(truth, seen)
    others = [j for j in range(J) if j != JOINT_INDEX["right_elbow"]]
    np.testing.assert_allclose(mean[:, :45], truth[:, :45], atol=1e-4)
    found = rep.matrices(mean)[:, :, others]
    np.testing.assert_allclose(found, rep.matrices(truth)[:, :, others], atol=1e-4)
    assert (deviation > 0).all()


def test_the_answer_does_not_depend_on_where_the_window_is(tiny_expectation):
    truth = windows()
    seen = hidden(slice(30, None))
    place = rep.Place(0.7, 2.0, -1.0)
    here, spread = tiny_expectation.expect(truth, seen)
    there, turned = tiny_expectation.expect(rep.placed(truth, place), seen)
    np.testing.assert_allclose(rep.placed(here, place), there, atol=1e-4)
    np.testing.assert_allclose((spread**2).sum(-1), (turned**2).sum(-1), rtol=1e-3)


def test_patterns_ask_only_for_what_is_hidden():
    rng = np.random.default_rng(0)
    for _ in range(200):
        seen, asked = pattern(rng, 0.4, 0.4)
        assert not (seen & asked).any()
        assert asked.any()
        if not seen[:, 0].all() and asked.all(axis=1).sum() == AHEAD:
            assert seen.all(axis=1).sum() >= PAST


def test_training_lowers_the_error_and_the_export_gives_the_same(library, tmp_path):
    settings = ExpectationSettings(
        batch=4,
        model=ExpectationConfig(width=16, layers=1),
        loop=LoopSettings(steps=4, learning_rate=1e-3, validate_every=4),
    )
    model, figures = train(library, settings, tmp_path)
    assert all(np.isfinite(value) for value in figures.values())
    path = export(model, tmp_path, {"deviation_scale": 1.5})
    again, document = load_model(path.with_suffix(".safetensors"))
    assert document["kind"] == "expectation"
    truth = windows(1)
    seen = hidden(slice(30, None), count=1)
    batch = make_batch(truth, np.ones((1, rep.FRAMES), bool), seen, ~seen)
    with torch.no_grad():
        ours = model(batch.bridged, batch.seen)[0]
        assert torch.equal(ours, again(batch.bridged, batch.seen)[0])
    mean, _ = Expectation(path).expect(batch.truth.numpy(), seen)
    theirs = model.positions(ours).numpy()
    np.testing.assert_allclose(rep.positions(mean), theirs, atol=1e-3)


def test_the_loss_has_a_gradient_for_every_weight():
    model = ExpectationNet(ExpectationConfig(width=8, layers=1))
    truth = windows()
    seen = hidden(slice(45, 75))
    total, _ = loss(model, make_batch(truth, np.ones((3, rep.FRAMES), bool), seen, ~seen))
    total.backward()
    assert model.write.weight.grad is not None
    assert model.write.weight.grad.abs().sum() > 0
    assert model.spread.weight.grad.abs().sum() > 0
