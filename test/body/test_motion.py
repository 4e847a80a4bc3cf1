"""Motion files: round trips, errors for invalid files, and no partial files."""

from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, load_motion, save_motion, save_npz
from pallas_ros.body.names import JOINTS
from pallas_ros.imu.motions import demo_motion


def a_motion(frames: int = 7) -> Motion:
    rng = np.random.default_rng(0)
    quaternions = rotations.normalise(rng.normal(size=(frames, 22, 4)))
    covariance = np.tile(np.eye(3) * 1e-4, (frames, 22, 1, 1))
    return Motion(
        60.0,
        rng.normal(size=(frames, 22, 3)),
        quaternions,
        covariance,
        extra={"stamp": np.arange(frames) / 60.0},
    )


def test_a_motion_comes_back(tmp_path: Path) -> None:
    motion = a_motion()
    save_motion(tmp_path / "m.npz", motion)
    back = load_motion(tmp_path / "m.npz")
    assert back.fps == 60 and len(back) == 7 and back.duration == pytest.approx(0.1)
    np.testing.assert_allclose(back.positions, motion.positions, atol=1e-6)
    np.testing.assert_allclose(back.rotations, motion.rotations, atol=1e-6)
    assert back.position_covariance is not None and back.valid is not None and back.valid.all()
    assert back.extra is not None
    np.testing.assert_array_equal(
        back.extra["stamp"], motion.extra["stamp"] if motion.extra else None
    )


def test_joints_may_stand_in_any_order_with_others_among_them(tmp_path: Path) -> None:
    motion = a_motion()
    order = np.random.default_rng(1).permutation(22)
    names = np.array([JOINTS[i] for i in order] + ["left_thumb"])
    positions = np.concatenate((motion.positions[:, order], np.zeros((7, 1, 3))), axis=1)
    quaternions = np.concatenate((motion.rotations[:, order], np.zeros((7, 1, 4))), axis=1)
    save_npz(
        tmp_path / "m.npz",
        {"fps": 60, "joint_names": names, "positions": positions, "rotations": quaternions},
    )
    np.testing.assert_allclose(load_motion(tmp_path / "m.npz").positions, motion.positions)


def test_frames_with_nan_are_kept_but_marked(tmp_path: Path) -> None:
    motion = a_motion()
    motion.positions[3, 5] = np.nan
    save_motion(tmp_path / "m.npz", motion)
    valid = load_motion(tmp_path / "m.npz").valid
    assert valid is not None and list(valid) == [True, True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"positions": None}, "no 'positions'"),
        ({"fps": np.float64(0)}, "fps must be"),
        ({"fps": np.float64(np.nan)}, "fps must be"),
        ({"joint_names": np.array(["hip"] * 22)}, "joint 'pelvis' is missing"),
        ({"rotations": np.zeros((7, 22, 3))}, "'rotations' has shape"),
        ({"positions": np.zeros((0, 22, 3)), "rotations": np.zeros((0, 22, 4))}, "no frames"),
        ({"positions": np.array(["x"])}, "'positions' has shape|no frames"),
        ({"valid": np.ones(3, dtype=bool)}, "'valid' has shape"),
    ],
)
def test_files_that_are_no_motion_are_refused_by_name(
    tmp_path: Path, change: dict[str, np.ndarray | None], says: str
) -> None:
    motion = a_motion()
    arrays = {
        "fps": np.float64(60),
        "joint_names": np.array(JOINTS),
        "positions": motion.positions,
        "rotations": motion.rotations,
    }
    arrays.update(change)  # type: ignore[arg-type]
    path = tmp_path / "bad.npz"
    save_npz(path, {key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(PallasError, match=says) as caught:
        load_motion(path)
    assert "bad.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_pickles_garbage_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "pickled.npz", fps=np.array([object()], dtype=object))
    good = tmp_path / "good.npz"
    save_motion(good, a_motion())
    (tmp_path / "truncated.npz").write_bytes(good.read_bytes()[:-200])
    for name in ("garbage", "empty", "pickled", "truncated", "missing"):
        with pytest.raises(PallasError, match=f"{name}.npz"):
            load_motion(tmp_path / f"{name}.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_motion(path, a_motion())
    before = path.read_bytes()

    class Unwritable:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        save_npz(path, {"a": np.zeros(3), "b": Unwritable()})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_additional_columns_follow_the_joints_or_are_dropped(tmp_path: Path) -> None:
    motion = demo_motion(0.1)
    frames = len(motion)
    order = np.arange(22)[::-1]
    arrays = {
        "fps": np.float64(60.0),
        "joint_names": np.array(JOINTS)[order],
        "positions": motion.positions[:, order],
        "rotations": motion.rotations[:, order],
        "confidence": np.tile(order / 22, (frames, 1)),
        "contacts": np.zeros((frames, 4)),
        "stamp": np.array("now"),
        "text": np.array("a person waves"),
    }
    save_npz(tmp_path / "m.npz", arrays)
    back = load_motion(tmp_path / "m.npz")
    np.testing.assert_allclose(back.positions, motion.positions)
    assert back.extra is not None
    assert set(back.extra) == {"confidence", "text"}
    np.testing.assert_allclose(back.extra["confidence"][0], np.arange(22) / 22)


def test_positions_that_no_body_has_are_missing(tmp_path: Path) -> None:
    motion = demo_motion(0.1)
    motion.positions[1, 3] = 1e300
    motion.positions[2, 0, 0] = np.inf
    arrays = {
        "fps": 60.0,
        "joint_names": np.array(JOINTS),
        "positions": motion.positions,
        "rotations": motion.rotations,
    }
    save_npz(tmp_path / "m.npz", arrays)
    back = load_motion(tmp_path / "m.npz")
    assert back.valid is not None
    np.testing.assert_array_equal(back.valid[:4], [True, False, False, True])
    assert np.isnan(back.positions[1, 3]).all()
