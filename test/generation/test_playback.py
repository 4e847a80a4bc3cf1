"""A stream of generated bodies without jumps."""

import numpy as np
import pytest

from hpstm_ros.generation.playback import BLEND_M_S, BLEND_S, Playback
from hpstm_ros.generation.request import resting
from pallas_ros.body import rotations
from pallas_ros.body.motion import resample
from pallas_ros.body.names import JOINT_INDEX

STEP = round(1e9 / 60)


def raised(seconds: float = 2.0, angle: float = 1.8):
    """A body with its right arm raised, turned from hanging by ``angle`` rad."""
    motion = resample(resting(seconds), 60.0)
    turn = rotations.from_rotvec(np.array([-angle, 0.0, 0.0]))
    for name in ("shoulder", "elbow", "wrist"):
        joint = JOINT_INDEX[f"right_{name}"]
        motion.rotations[:, joint] = rotations.multiply(turn, motion.rotations[:, joint])
    motion.positions[:] += [0.1, 0.0, 0.0]
    return motion


def frames(playback: Playback, start: int, count: int):
    return [playback.tick(start + n * STEP) for n in range(count)]


def largest_step(bodies) -> float:
    p = np.stack([b.positions for b in bodies])
    return float(np.linalg.norm(np.diff(p, axis=0), axis=-1).max())


def test_it_blends_in_and_out_and_rests_again():
    playback = Playback()
    shown = frames(playback, 0, 5)
    playback.play(raised(), 5 * STEP)
    shown += frames(playback, 5 * STEP, 200)
    assert not playback.playing
    assert "generated" in shown[-1].remarks
    assert largest_step(shown) < 0.15  # half a turn of the arm within 0.3 s
    still = frames(playback, 300 * STEP, 2)
    np.testing.assert_allclose(still[0].positions, still[1].positions)


def test_a_stop_leads_to_rest_within_the_blend():
    playback = Playback()
    frames(playback, 0, 2)
    playback.play(raised(), 2 * STEP)
    frames(playback, 2 * STEP, 60)
    playback.stop(62 * STEP)
    shown = frames(playback, 62 * STEP, round(BLEND_S * 60) + 2)
    assert largest_step(shown) < 0.15
    rest = Playback().tick(0)
    away = rotations.angle_between(shown[-1].rotations, rest.rotations)
    assert away.max() < 1e-6


@pytest.mark.parametrize("away", [0.2, 1.0, 4.0])
def test_a_body_goes_to_a_motion_elsewhere_at_a_calm_speed(away):
    motion = raised(8.0)
    motion.positions[:] += [away, 0.0, 0.0]
    playback = Playback()
    frames(playback, 0, 2)
    playback.play(motion, 2 * STEP)
    shown = frames(playback, 2 * STEP, 450)
    roots = np.stack([body.positions[0] for body in shown])
    assert np.linalg.norm(np.diff(roots, axis=0), axis=-1).max() * 60 < BLEND_M_S + 0.05
    np.testing.assert_allclose(roots[-1], motion.positions[-1, 0], atol=1e-6)
    arm = JOINT_INDEX["right_elbow"]
    soon = shown[round(BLEND_S * 60) + 1].rotations[arm]
    assert rotations.angle_between(soon, motion.rotations[0, arm]) < 1e-3


def test_the_next_motion_starts_where_the_last_one_ended():
    playback = Playback()
    playback.play(raised(), 0)
    frames(playback, 0, 160)
    start = playback.at_rest()
    np.testing.assert_allclose(start.positions[0, 0, :2], [0.1, 0.0], atol=0.02)


def test_an_arm_half_a_turn_away_comes_down_on_one_side():
    """The shorter rotation changes direction there while the arm still moves slightly."""
    motion = raised(angle=2.0)
    moving = rotations.from_rotvec(np.outer(np.linspace(0, 2.0, len(motion)), [-1.0, 0.0, 0.0]))
    for name in ("shoulder", "elbow", "wrist"):
        joint = JOINT_INDEX[f"right_{name}"]
        motion.rotations[:, joint] = rotations.multiply(moving, motion.rotations[:, joint])
    for stop in range(60, 72, 2):  # half a turn apart after 68 frames
        playback = Playback()
        frames(playback, 0, 2)
        playback.play(motion, 2 * STEP)
        frames(playback, 2 * STEP, stop)
        playback.stop((2 + stop) * STEP)
        assert largest_step(frames(playback, (2 + stop) * STEP, 30)) < 0.25


@pytest.mark.parametrize("later", [5, 60, 125], ids=["blending in", "playing", "blending out"])
def test_a_clock_that_is_set_back_moves_nothing(later):
    """Regression: the velocity at the switch was extrapolated to kilometres."""
    playback = Playback()
    begun = 3600 * 60
    frames(playback, begun * STEP, 2)
    playback.play(raised(), (begun + 2) * STEP)
    shown = frames(playback, (begun + 2) * STEP, later)
    shown += frames(playback, 1000 * STEP, 200)
    assert largest_step(shown) < 0.15
    assert not playback.moving
