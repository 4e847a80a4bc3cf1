"""Gaps that the smoother cannot bridge are filled and marked as filled."""

from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from hpstm_ros.generation.filling import LONGEST_S, _gaps, fill, seen_frames
from pallas_ros import cli
from pallas_ros.body.motion import Motion, load_motion, save_motion
from pallas_ros.imu.motions import demo_motion


def with_gap(start: int, stop: int, bridged: int = 30) -> tuple[Motion, np.ndarray]:
    """A motion as given by the smoother, unmeasured from ``start`` to ``stop``."""
    motion = demo_motion(8.0)
    seen = np.ones(len(motion), dtype=bool)
    seen[start:stop] = False
    valid = seen.copy()
    valid[start : start + bridged] = True
    for values in (motion.positions, motion.rotations):
        values[start:stop] = values[start - 1]
    motion.valid = valid
    return motion, seen


@pytest.mark.parametrize(("start", "stop"), [(240, 300), (181, 332), (20, 90)])
def test_a_gap_is_filled_and_marked(tiny_expectation, start: int, stop: int) -> None:
    motion, seen = with_gap(start, stop)
    result = fill(motion, seen, tiny_expectation)
    filled = result.motion
    assert (result.gaps, result.left) == (1, 0)
    np.testing.assert_array_equal(np.flatnonzero(filled.extra["filled"]), np.arange(start, stop))
    assert filled.valid.all()
    assert (filled.extra["confidence"][start:stop] == 0).all()
    covariance = filled.position_covariance[start:stop]
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    outside = ~filled.extra["filled"]
    np.testing.assert_array_equal(filled.positions[outside], motion.positions[outside])
    assert np.isfinite(filled.positions).all()
    steps = np.linalg.norm(np.diff(filled.positions[start - 2 : stop + 2], axis=0), axis=-1)
    assert steps.max() < 0.1  # no jump into the gap or out of it
    lengths = np.linalg.norm(filled.positions[:, 20] - filled.positions[:, 18], axis=-1)
    np.testing.assert_allclose(lengths, lengths[0], atol=1e-6)


@pytest.mark.parametrize("frames", [60, 61])
def test_a_gap_before_the_last_frame_ends_there(tiny_expectation, frames: int) -> None:
    """Regression: of an odd number of steps, the last frame in the gap was taken as measured."""
    stop = len(demo_motion(8.0)) - 1
    motion, seen = with_gap(stop - frames, stop)
    held = motion.positions[stop - 1].copy()
    out = fill(motion, seen, tiny_expectation).motion.positions
    away = np.linalg.norm(motion.positions[stop] - held, axis=-1).max()
    assert np.linalg.norm(out[stop] - out[stop - 1], axis=-1).max() < 0.2 * away


def test_the_covariance_grows_with_the_body(tiny_expectation) -> None:
    """Regression: it was that of the default body."""
    motion, seen = with_gap(240, 300)
    large = replace(motion, positions=1.2 * motion.positions, valid=motion.valid.copy())
    a, b = (fill(m, seen, tiny_expectation).motion for m in (motion, large))
    np.testing.assert_allclose(
        b.position_covariance[240:300], 1.44 * a.position_covariance[240:300], rtol=1e-3
    )


def test_what_cannot_be_filled_is_left(tiny_expectation) -> None:
    too_long = 60 * round(LONGEST_S) + 20
    motion, seen = with_gap(100, 100 + too_long)
    result = fill(motion, seen, tiny_expectation)
    assert (result.gaps, result.left) == (0, 1)
    np.testing.assert_array_equal(result.motion.valid, motion.valid)
    assert not result.motion.extra["filled"].any()
    assert result.motion.position_covariance is None
    motion, seen = with_gap(400, len(motion))
    assert fill(motion, seen, tiny_expectation).left == 1


def test_gaps_end_at_measured_frames() -> None:
    valid = np.array([0, 1, 1, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    seen = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0], dtype=bool)
    assert _gaps(valid, seen) == [(-1, 2), (2, 6), (6, 8), (8, 10)]
    assert _gaps(np.zeros(3, bool), np.ones(3, bool)) == [(-1, 3)]
    assert _gaps(np.ones(3, bool), np.zeros(3, bool)) == []


def test_the_gaps_of_an_hour_are_found_in_linear_time() -> None:
    """Regression: every gap read the whole motion before and after it."""
    frames = 3600 * 60
    valid = np.arange(frames) % 10 != 5
    started = process_time()
    assert len(_gaps(valid, valid)) == frames // 10
    assert process_time() - started < 2.0


def test_the_command_fills_gaps_and_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    motion = demo_motion(6.0)
    motion.positions[150:220] = np.nan
    save_motion(tmp_path / "gap.npz", motion)
    words = ["smooth", str(tmp_path / "gap.npz"), str(tmp_path / "out.npz"), "--fill"]
    assert cli.main([*words, "--method", "bypass"]) == 0
    assert "1 gaps filled, 0 left" in capsys.readouterr().out
    out = load_motion(tmp_path / "out.npz")
    assert out.valid is None or out.valid.all()
    assert out.extra["filled"].sum() in range(69, 72)
    assert np.isfinite(out.position_covariance[150:219]).all()


def test_measured_instants_are_those_with_a_joint() -> None:
    motion = demo_motion(1.0)
    motion.positions[10:20] = np.nan
    motion.positions[30, 3] = np.nan
    np.testing.assert_array_equal(np.flatnonzero(~seen_frames(motion, len(motion))), range(10, 20))
