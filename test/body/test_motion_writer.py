"""Motion files written frame by frame: the time grid, gaps, clock jumps, and no partial files."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import load_motion
from pallas_ros.body.motion_writer import LONGEST_GAP_S, MotionWriter

SECOND = 1_000_000_000


def body(index: int, covariance: bool = True, start: int = 5 * SECOND) -> BodyFrame:
    rng = np.random.default_rng(index)
    return BodyFrame(
        stamp=start + round(index * SECOND / 60),
        rotations=np.tile([0.0, 0.0, 0.0, 1.0], (22, 1)),
        positions=rng.normal(size=(22, 3)),
        covariance=np.tile(np.eye(3) * 1e-4, (22, 1, 1)) if covariance else None,
        valid=np.ones(22, dtype=bool),
        confidence=np.full(22, 0.5),
        contacts=np.array([1.0, 0.0]),
        newest_input=0,
    )


def write(path: Path, bodies: list[BodyFrame]) -> MotionWriter:
    with MotionWriter(path, 60) as writer:
        for entry in bodies:
            writer.add(entry)
    return writer


def test_frames_come_back_with_their_gaps_marked(tmp_path: Path) -> None:
    there = [index for index in range(1500) if not 700 <= index < 720]
    writer = write(tmp_path / "m.npz", [body(index) for index in there])
    assert (writer.frames, writer.left_out) == (1500, 0)
    motion = load_motion(tmp_path / "m.npz")
    assert (
        motion.valid is not None
        and motion.position_covariance is not None
        and motion.extra is not None
    )
    np.testing.assert_array_equal(np.flatnonzero(motion.valid), there)
    np.testing.assert_allclose(
        motion.positions[there], [body(index).positions for index in there], atol=1e-6
    )
    assert np.isnan(motion.positions[700:720]).all()
    np.testing.assert_array_equal(
        motion.extra["stamp_ns"], [body(index).stamp for index in range(1500)]
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.npz"]


def test_covariance_is_kept_where_every_body_has_one(tmp_path: Path) -> None:
    write(tmp_path / "m.npz", [body(0), body(1, covariance=False), body(2)])
    assert load_motion(tmp_path / "m.npz").position_covariance is None


def test_a_body_from_the_past_is_left_out(tmp_path: Path) -> None:
    writer = write(tmp_path / "m.npz", [body(0), body(1), body(1), body(0), body(2)])
    assert (writer.frames, writer.left_out) == (3, 2)


def test_a_clock_jump_is_reported_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=r"stamps jump by 3601 s after 1 frames; cut it there"):
        write(tmp_path / "m.npz", [body(0), body(round((LONGEST_GAP_S + 1) * 60))])
    assert not list(tmp_path.iterdir())


def test_no_frame_no_file(tmp_path: Path) -> None:
    assert write(tmp_path / "m.npz", []).frames == 0
    assert not list(tmp_path.iterdir())


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write(tmp_path / name, [body(index) for index in range(100)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        entry = body(0)
        tracemalloc.start()
        with MotionWriter(tmp_path / f"{frames}.npz", 60) as writer:
            for index in range(frames):
                entry.stamp = 5 * SECOND + round(index * SECOND / 60)
                writer.add(entry)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(100)
    assert peak(6000) < peak(1000) + 1_000_000
