"""The streaming smoother: delay, stamps, gaps, estimator failures, bone lengths; with the classical
method and the released network.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hpstm_ros.smoothing.bodies import Bodies, method_for
from hpstm_ros.smoothing.bones import BoneLengths, PersonCheck
from hpstm_ros.smoothing.outlier_gate import Gate
from hpstm_ros.smoothing.posing import rotations_from_positions
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion, load_motion, save_motion
from pallas_ros.body.names import JOINT_INDEX, MIRROR, PARENTS
from pallas_ros.body.presence import MOST_BODIES
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.cli import main

F64 = NDArray[np.float64]
PARENT = np.array([max(p, 0) for p in PARENTS])


def body(index: int, points: NDArray[np.float64], **changes: object) -> BodyFrame:
    """Frame ``index`` of a 60 Hz stream as a body."""
    stamp = round(index * 1e9 / 60)
    seen = np.isfinite(points).all(-1)
    values: dict[str, object] = {
        "stamp": stamp,
        "rotations": np.tile(rotations.IDENTITY, (22, 1)),
        "positions": points,
        "covariance": None,
        "valid": seen,
        "confidence": np.ones(22),
        "contacts": np.zeros(2),
        "newest_input": stamp,
    }
    return BodyFrame(**{**values, **changes})  # type: ignore[arg-type]


def smoother(method: str, lookahead: int = 0, **changes: object) -> Smoother:
    return Smoother(
        SmootherSettings(method=method, lookahead=lookahead, backend="onnxruntime", **changes)
    )  # type: ignore[arg-type]


def run(s: Smoother, points: F64) -> list[BodyFrame]:
    return [out for i, p in enumerate(points) for out in s.push(body(i, p))]


def index(frame: BodyFrame) -> int:
    return round(frame.stamp * 60 / 1e9)


@pytest.mark.parametrize("method", ["hpstm", "kalman", "bypass"])
@pytest.mark.parametrize("lookahead", [0, 5])
def test_each_body_comes_out_once_after_exactly_the_lookahead(
    method: str, lookahead: int, noisy: F64, model: Path
) -> None:
    s = smoother(method, lookahead)
    for i, points in enumerate(noisy[:60]):
        out = s.push(body(i, points))
        assert [b.stamp for b in out] == (
            [round((i - lookahead) * 1e9 / 60)] if i >= lookahead else []
        )
        assert all(b.newest_input == round(i * 1e9 / 60) for b in out)


@pytest.mark.parametrize(("lookahead", "at_most_mm"), [(0, 13.0), (5, 10.0), (10, 10.0)])
def test_the_network_takes_noise_away(
    lookahead: int, at_most_mm: float, walk: F64, noisy: F64, model: Path
) -> None:
    out = run(smoother("hpstm", lookahead), noisy)[60:]
    error = np.mean([np.linalg.norm(b.positions - walk[index(b)], axis=-1) for b in out])
    assert 1e3 * error < at_most_mm < 1e3 * np.linalg.norm(noisy - walk, axis=-1).mean()


def test_bones_do_not_stretch_and_rotations_agree_with_positions(noisy: F64, model: Path) -> None:
    s = smoother("hpstm", estimate_bones_s=1.0)
    out = run(s, noisy)[90:]
    lengths = np.array([np.linalg.norm(b.positions - b.positions[PARENT], axis=-1) for b in out])[
        :, 1:
    ]
    assert lengths.std(axis=0).max() < 1e-4
    assert s.bones is not None
    last = out[-1]
    directions = (
        Skeleton.from_height().offsets / np.maximum(Skeleton.from_height().lengths, 1e-9)[:, None]
    )
    body_of_operator = Skeleton(directions * s.bones.lengths[:, None], 0.1, 0.1, 0.1)
    np.testing.assert_allclose(
        forward_kinematics(body_of_operator, last.rotations, last.positions[0]),
        last.positions,
        atol=1e-4,
    )


def test_the_answer_moves_with_the_input(noisy: F64, model: Path) -> None:
    """The output of a translated and rotated body is translated and rotated equally."""
    angle = 2.0
    R = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]]
    )
    shift = np.array([300.0, -200.0, 1.0])
    plain = run(smoother("hpstm"), noisy[:80])[-1]
    moved = run(smoother("hpstm"), noisy[:80] @ R.T + shift)[-1]
    np.testing.assert_allclose(moved.positions, plain.positions @ R.T + shift, atol=1e-3)
    assert plain.covariance is not None and moved.covariance is not None
    np.testing.assert_allclose(moved.covariance, R @ plain.covariance @ R.T, atol=1e-5)


def test_a_body_out_of_sight_is_bridged_with_growing_covariance_then_lost(
    walk: F64, noisy: F64, model: Path
) -> None:
    s = smoother("hpstm")
    before = run(s, noisy[:100])[-1]
    gone = s.advance(round(200 * 1e9 / 60))
    assert len(gone) == 31
    assert not gone[-1].valid.any() and "lost" in " ".join(gone[-1].remarks)
    assert all(b.valid.all() for b in gone[:-1])
    assert (
        before.covariance is not None
        and gone[5].covariance is not None
        and gone[25].covariance is not None
    )
    traces = [
        np.trace(c, axis1=1, axis2=2).mean()
        for c in (before.covariance, gone[5].covariance, gone[25].covariance)
    ]
    assert traces[0] < traces[1] < traces[2]
    assert gone[25].confidence.mean() < before.confidence.mean()
    again = s.push(body(200, noisy[100]))
    assert again and any("restarted" in r for r in again[0].remarks)


def test_a_30_hz_camera_gives_60_bodies_a_second(walk: F64, noisy: F64, model: Path) -> None:
    s = smoother("hpstm", 2)
    out = [b for i in range(0, 200, 2) for b in s.push(body(i, noisy[i]))]
    assert [index(b) for b in out] == list(range(197))
    error = np.mean([np.linalg.norm(b.positions - walk[index(b)], axis=-1) for b in out[60:]])
    assert error < np.linalg.norm(noisy - walk, axis=-1).mean()


def test_late_and_repeated_bodies_are_dropped(noisy: F64) -> None:
    s = smoother("kalman")
    run(s, noisy[:10])
    assert s.push(body(5, noisy[5])) == [] and s.push(body(9, noisy[9])) == []
    assert s.failures["out of order"] == 2
    assert len(s.push(body(10, noisy[10]))) == 1


@pytest.mark.parametrize("method", ["hpstm", "kalman", "bypass"])
@settings(max_examples=12)
@given(seed=st.integers(0, 1000))
def test_the_output_is_finite_for_any_input(
    method: str, seed: int, model: Path, noisy: F64
) -> None:
    rng = np.random.default_rng(seed)
    s = smoother(method, int(rng.integers(0, 6)))
    points = noisy[:40].copy()
    points[rng.random(40) < 0.3] = np.nan
    points[rng.random((40, 22)) < 0.2] = np.nan
    points[rng.random((40, 22)) < 0.05] += 5.0
    points[rng.random((40, 22)) < 0.02] = np.inf
    for out in run(s, points):
        assert np.isfinite(out.positions[out.valid]).all() and np.isfinite(out.rotations).all()
        if method != "bypass":
            assert np.isfinite(out.positions).all()
            assert out.covariance is not None and (np.linalg.eigvalsh(out.covariance) > 0).all()


def test_swapped_sides_are_put_right(noisy: F64) -> None:
    gate = Gate()
    for points in noisy[:60]:
        gate.push(points)
    fixed, remarks = gate.push(noisy[60][list(MIRROR)])
    assert "left and right" in remarks[0]
    seen = np.isfinite(fixed).all(-1)
    np.testing.assert_array_equal(fixed[seen], noisy[60][seen])


def test_sides_exchanged_in_a_bodys_first_frames_are_not_kept(noisy: F64) -> None:
    """Regression from a hostile file: the first frames were trusted, and seven seconds of correct
    frames were swapped.
    """
    gate = Gate()
    mirrored = list(MIRROR)
    out = [
        gate.push(points[mirrored] if i < 5 else points)[0] for i, points in enumerate(noisy[:60])
    ]
    wrong = [
        i
        for i, (points, shown) in enumerate(zip(out, noisy[:60], strict=True))
        if np.nanmax(np.abs(points - shown)) > 1e-9
    ]
    assert max(wrong) < 12 and gate.counts["restarted"] == 1


def test_another_person_for_a_moment_is_refused_but_believed_when_it_stays(noisy: F64) -> None:
    gate = Gate()
    for points in noisy[:60]:
        gate.push(points)
    refused, remarks = gate.push(noisy[60] + np.array([1.0, 1.0, 0.0]))
    assert np.isnan(refused).all() and "jumped" in remarks[0]
    for points in noisy[61:90]:
        last, _ = gate.push(points + np.array([1.0, 1.0, 0.0]))
    assert np.isfinite(last).any() and gate.counts["restarted"] == 1


def test_another_person_is_noticed_by_the_limbs(walk: F64, tmp_path: Path) -> None:
    lengths = Skeleton.from_height().lengths
    BoneLengths(lengths, np.full(22, 1e-3)).save(tmp_path / "operator.npz")
    held = BoneLengths.load(tmp_path / "operator.npz")
    np.testing.assert_allclose(held.lengths, lengths)
    same = PersonCheck()
    other = PersonCheck()
    assert [same.push(points, held) for points in walk][-1] is None
    assert "another person" in str([other.push(1.12 * points, held) for points in walk][-1])


@pytest.mark.parametrize("method", ["hpstm", "kalman"])
def test_bone_lengths_are_learned_neither_too_long_nor_too_short(
    method: str, walk: F64, noisy: F64, model: Path
) -> None:
    s = smoother(method, estimate_bones_s=3.0)
    run(s, 1.12 * walk + (noisy - walk))
    assert s.bones is not None
    off = (s.bones.lengths - 1.12 * Skeleton.from_height().lengths)[1:]
    as_measured = (
        np.linalg.norm(noisy - noisy[:, PARENT], axis=-1).mean(0)[1:]
        - Skeleton.from_height().lengths[1:]
    )
    assert 1e3 * np.abs(off).mean() < 1.5 and 1e3 * abs(off.mean()) < 1.0
    assert np.abs(as_measured).mean() > 2 * np.abs(off).mean()
    assert np.sqrt((off**2).mean()) < 2 * np.sqrt((s.bones.deviation[1:] ** 2).mean())


def test_bones_that_are_never_seen_have_the_size_of_the_others(walk: F64, model: Path) -> None:
    points = 0.85 * walk
    missing = [
        JOINT_INDEX[name]
        for name in (
            "spine1",
            "spine2",
            "spine3",
            "neck",
            "left_collar",
            "right_collar",
            "left_foot",
            "right_foot",
        )
    ]
    points[:, missing] = np.nan
    s = smoother("hpstm", estimate_bones_s=2.0)
    run(s, points)
    assert s.bones is not None
    np.testing.assert_allclose(s.bones.lengths, 0.85 * Skeleton.from_height().lengths, rtol=0.03)
    assert (
        s.bones.deviation[JOINT_INDEX["spine2"]] > 5 * s.bones.deviation[JOINT_INDEX["left_knee"]]
    )


def test_bone_files_of_no_human_are_refused(tmp_path: Path) -> None:
    BoneLengths(np.full(22, 3.0), np.zeros(22)).save(tmp_path / "giant.npz")
    for name in ("giant.npz", "absent.npz"):
        with pytest.raises(PallasError, match=name):
            BoneLengths.load(tmp_path / name)


def test_rotations_from_positions_reproduce_the_positions(walk: F64) -> None:
    skeleton = Skeleton.from_height()
    q = rotations_from_positions(walk[50], skeleton)
    np.testing.assert_allclose(forward_kinematics(skeleton, q, walk[50, 0]), walk[50], atol=1e-9)


def test_trusted_rotations_keep_the_twist(walk: F64, noisy: F64, model: Path) -> None:
    wrist = JOINT_INDEX["left_wrist"]
    twisted = np.tile(rotations.IDENTITY, (22, 1))
    twisted[wrist] = rotations.from_rotvec(np.array([0.0, 0.7, 0.0]))
    s = smoother("hpstm", trust_rotations=True)
    out = [b for i in range(60) for b in s.push(body(i, walk[i], rotations=twisted))][-1]
    np.testing.assert_allclose(
        np.abs(np.sum(out.rotations[wrist] * twisted[wrist])), 1.0, atol=1e-6
    )


def test_four_bodies_are_smoothed_and_a_fifth_is_refused(noisy: F64) -> None:
    bodies = Bodies(SmootherSettings(method="kalman"))
    for name in range(MOST_BODIES):
        assert bodies.push(body(0, noisy[0] + name, body_id=f"p{name}"), 0)[0].body_id == f"p{name}"
    with pytest.raises(PallasError, match="is rejected, because at most"):
        bodies.push(body(0, noisy[0], body_id="p9"), 0)
    bodies.tick(round(6e9))
    assert bodies.push(body(400, noisy[0], body_id="p9"), round(6e9))


def test_bodies_from_the_imus_pass_unchanged(noisy: F64) -> None:
    assert (
        method_for("auto", "/pallas/body") == "bypass"
        and method_for("auto", "/pose/body") == "hpstm"
    )
    s = smoother("bypass")
    for i, points in enumerate(noisy[:20]):
        np.testing.assert_array_equal(s.push(body(i, points))[0].positions, points)


@pytest.mark.parametrize(
    ("key", "value"), [("method", "magic"), ("lookahead", 11), ("bridge_s", 0.0)]
)
def test_settings_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(PallasError):
        SmootherSettings(**{key: value})  # type: ignore[arg-type]


def test_smooth_accepts_a_hostile_file_and_reports_its_failures(
    walk: F64, noisy: F64, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A third of the frames dropped, missing joints, spikes of 200 mm and exchanged sides, also in
    the first frames.
    """
    rng = np.random.default_rng(11)
    points = noisy.copy()
    spiked = rng.random(points.shape[:2]) < 0.02
    points[spiked] += 0.2 * np.array([0.6, 0.0, 0.8])
    for start in (0, 60, 130, 190):
        points[start : start + 2] = points[start : start + 2, list(MIRROR)]
    points[rng.random(points.shape[:2]) < 0.05] = np.nan
    points[150:165, JOINT_INDEX["right_wrist"]] = np.nan
    dropped = rng.random(len(points)) < 0.3
    points[dropped] = np.nan
    rotations_ = np.tile(rotations.IDENTITY, (*points.shape[:2], 1))
    save_motion(tmp_path / "hostile.npz", Motion(60.0, points, rotations_, valid=~dropped))
    assert (
        main(
            [
                "smooth",
                str(tmp_path / "hostile.npz"),
                str(tmp_path / "smooth.npz"),
                "--lookahead",
                "10",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert all(word in said for word in ("frames bridged", "joint refused", "sides exchanged"))
    smooth = load_motion(tmp_path / "smooth.npz")
    assert len(smooth) == len(points)
    assert smooth.position_covariance is not None
    assert all(
        np.isfinite(a).all()
        for a in (smooth.positions, smooth.rotations, smooth.position_covariance)
    )
    error = np.linalg.norm(smooth.positions - walk, axis=-1).mean(-1)
    assert np.median(error[60:]) < 0.02 and error[60:].max() < 0.08
    jerk = [
        np.linalg.norm(np.diff(p[60:], 3, axis=0), axis=-1).mean()
        for p in (smooth.positions, noisy)
    ]
    assert jerk[0] < 0.1 * jerk[1]


def test_the_band_of_a_hidden_wrist_grows_but_not_beyond_its_bones(noisy: F64, model: Path) -> None:
    points = noisy[:90].copy()
    arm = [JOINT_INDEX["right_elbow"], JOINT_INDEX["right_wrist"]]
    points[60:, arm] = np.nan
    out = run(smoother("hpstm"), points)
    sigma = np.array(
        [np.sqrt(np.trace(b.covariance[arm[1]])) for b in out if b.covariance is not None]
    )
    assert sigma[60] < sigma[64] < sigma[72]
    assert (
        sigma.max()
        < 1.05 * np.sqrt(2 * np.sum(Skeleton.from_height().lengths[arm] ** 2)) + sigma[:60].max()
    )
