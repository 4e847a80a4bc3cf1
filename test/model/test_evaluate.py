"""Evaluation: intervals, perfect and useless methods, and the file written by the command."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pallas_ros import cli  # noqa: E402
from pallas_ros.body.errors import PallasError  # noqa: E402
from pallas_ros.body.names import JOINT_INDEX  # noqa: E402
from pallas_ros.body.skeleton import Skeleton  # noqa: E402
from pallas_ros.data.library import LibraryClip, MotionLibrary  # noqa: E402
from pallas_ros.data.virtual_imu import Sequence  # noqa: E402
from pallas_ros.geometry import rotations  # noqa: E402
from pallas_ros.train import evaluate, pictures  # noqa: E402
from pallas_ros.train.baselines import tpose_measured  # noqa: E402
from pallas_ros.train.evaluate import by_subject, clips_of, names  # noqa: E402
from pallas_ros.train.measures import (  # noqa: E402
    ClipFigures,
    Estimate,
    bootstrap,
    figure_row,
    measure_clip,
    table,
)
from pallas_ros.train.running import chain  # noqa: E402


def walk(frames: int = 120) -> Sequence:
    """A synthetic sequence: joints swing, the root moves forward at 1 m/s, the heading is constant
    at 0.3 rad.
    """
    t = torch.arange(frames) / 60
    rotvec = 0.4 * torch.sin(t[:, None, None] * torch.linspace(1, 5, 66).view(22, 3))
    R = rotations.to_matrix(rotations.from_rotvec(rotvec))[None]
    imu = torch.cat(
        (torch.zeros(1, frames, 4, 3), R[:, :, [0, 12, 18, 19]].flatten(-2)), -1
    ).flatten(-2)
    velocity = torch.tensor([1.0, 0.0, 0.0]).expand(1, frames, 3)
    return Sequence(
        imu,
        torch.zeros(1, frames, 91),
        R,
        torch.zeros(1, frames, 2),
        velocity,
        torch.full((1, frames), 0.3),
    )


def test_the_truth_scores_zero_and_a_turned_elbow_its_angle() -> None:
    truth = walk()
    perfect = measure_clip(
        Estimate(truth.rotations, truth.contacts, truth.root_velocity),
        truth,
        0,
        120,
        Skeleton.from_height(),
    ).sums
    assert perfect["mpjpe_cm"][0] < 1e-3  # feet that stand are held: by rounding errors only
    assert perfect["jerk_ratio"][0] == pytest.approx(perfect["jerk_ratio"][1], rel=1e-2)
    assert perfect["root_drift_m_per_10m"][0] / perfect["root_drift_m_per_10m"][1] < 0.02
    turned = truth.rotations.clone()
    turned[:, :, JOINT_INDEX["left_elbow"]] @= rotations.to_matrix(
        rotations.from_rotvec(torch.tensor([0.0, 0.0, 0.2]))
    )
    off = measure_clip(Estimate(turned), truth, 0, 120, Skeleton.from_height()).sums
    assert off["angle_left_elbow_deg"][0] / 120 == pytest.approx(np.degrees(0.2), rel=1e-2)
    forearm = Skeleton.from_height().lengths[JOINT_INDEX["left_wrist"]]
    assert off["mpjpe_upper_cm"][0] / 120 == pytest.approx(
        100 * 2 * np.sin(0.1) * forearm / 14, rel=1e-2
    )
    assert off["mpjpe_legs_cm"][0] == 0


def test_an_error_is_traced_to_the_segment_that_has_it() -> None:
    truth = walk()
    turned = truth.rotations.clone()
    turn = rotations.to_matrix(rotations.from_rotvec(torch.tensor([0.3, 0.0, 0.3])))
    for joint in ("left_shoulder", "right_hip"):
        turned[:, :, JOINT_INDEX[joint]] @= turn
    sums = measure_clip(Estimate(turned), truth, 0, 120, Skeleton.from_height()).sums
    assert sums["mpjpe_upper_cm"][0] > 1 and sums["mpjpe_upper_true_arms_cm"][0] == 0
    assert sums["mpjpe_upper_true_trunk_cm"][0] == sums["mpjpe_upper_cm"][0]
    assert sums["mpjpe_legs_cm"][0] > 1 and sums["mpjpe_legs_true_thighs_cm"][0] == 0


def test_tpose_baseline_contains_the_measurements() -> None:
    truth = walk()
    R = tpose_measured(truth.imu)
    for name in ("pelvis", "left_elbow", "right_elbow"):
        assert (
            R[:, :, JOINT_INDEX[name]] - truth.rotations[:, :, JOINT_INDEX[name]]
        ).abs().max() < 1e-6
    assert (R[:, :, JOINT_INDEX["left_knee"]] - torch.eye(3)).abs().max() == 0


def test_intervals_hold_the_mean_and_widen_with_spread() -> None:
    def clips(spread: float) -> list[ClipFigures]:
        rng = np.random.default_rng(0)
        return [
            ClipFigures({"m": (100 * (5 + spread * x), 100.0)}) for x in rng.standard_normal(60)
        ]

    value, low, high = bootstrap(clips(0.1), "m")
    _, low2, high2 = bootstrap(clips(1.0), "m")
    assert low < value < high and value == pytest.approx(5, abs=0.1)
    assert high2 - low2 > 5 * (high - low)


def test_a_single_clip_has_no_interval() -> None:
    """Regression: it had one of zero width."""
    figures = bootstrap([ClipFigures({"m": (10.0, 2.0)})], "m")
    assert figures == (5.0, None, None)
    row = figure_row("a", "seen", "mpjpe_cm", *figures)
    assert "low" not in row and "high" not in row
    assert "5.00" in table([row]) and "[" not in table([row])


def test_the_command_writes_its_rows(tmp_path: Path, released: Path) -> None:
    data = Path(
        os.environ.get("PALLAS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    )
    if not (data / "real_imu_60hz.npz").is_file():
        pytest.skip(f"the motion packs are not in {data} (set PALLAS_DATA)")
    arguments = [
        "eval",
        "pallas",
        "--data",
        str(data),
        "--models",
        str(released),
        "--cases",
        "real",
        "--json",
        str(tmp_path / "f.json"),
    ]
    assert cli.main(arguments) == 0
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert {(r["name"], r["case"], r["metric"]) for r in rows} >= {
        ("pallas", "real", "shin_deg"),
        ("tpose_measured", "real", "forearm_deg"),
        ("pallas", "real,no_acceleration", "shin_turned_deg"),
    }
    assert all(isinstance(r["value"], float) and r["low"] <= r["value"] <= r["high"] for r in rows)


def test_each_person_has_a_row_and_those_who_do_not_swim_have_one() -> None:
    figures = [
        ClipFigures(dict.fromkeys(("mpjpe_upper_cm", "mpjpe_legs_cm"), (value * 10, 10.0)))
        for value in (5.0, 50.0, 7.0)
    ]
    rows = by_subject("pallas", "unseen_subjects", ["40", "125", "40"], figures)
    legs = {row["case"]: row["value"] for row in rows if row["metric"] == "mpjpe_legs_cm"}
    assert legs == {
        "unseen_subjects,subject=40": 6.0,
        "unseen_subjects,subject=125": 50.0,
        "unseen_subjects,without_swimming": 6.0,
    }


def test_models_with_equal_names_are_distinguished() -> None:
    """Regression: `pallas eval pallas --models runs/*/model.safetensors` evaluated only the last
    one.
    """
    assert names([Path("runs/a/model.safetensors"), Path("runs/b/model.safetensors")]) == [
        "a/model",
        "b/model",
    ]
    assert names([Path("runs/full.safetensors"), Path("gru.safetensors")]) == ["full", "gru"]
    assert names([Path("1/a/m.safetensors"), Path("2/a/m.safetensors")]) == [
        "1/a/m.safetensors",
        "2/a/m.safetensors",
    ]


def still(frames: int, split: str = "unseen") -> MotionLibrary:
    """A library of one clip of a body in the T-pose."""
    rotation = np.zeros((frames, 22, 4), np.int16)
    rotation[..., 3] = 32767
    clip = LibraryClip("test", "still", "still", "", split, 0, frames)
    return MotionLibrary(
        (clip,), rotation, np.zeros((frames, 3), np.float32), np.zeros((frames, 2), bool)
    )


@pytest.mark.parametrize(
    ("case", "library"),
    [
        ("running", still(60)),
        ("running", still(100, "train")),
        ("unseen", still(20)),
        ("sites=4", still(100)),
    ],
)
def test_a_case_without_clips_is_one_sentence(case: str, library: MotionLibrary) -> None:
    """Regression: `running` without unseen clips was a traceback, and with short ones endless."""
    with pytest.raises(PallasError, match=f"'{case}', so it cannot be measured; leave it out"):
        clips_of(library, case)


def test_short_clips_cannot_be_chained() -> None:
    library = still(60)
    with pytest.raises(PallasError, match="no clip of more than 60 frames"):
        chain(library, list(library.clips), 100, np.random.default_rng(0))


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[list[str], list[dict[str, object]]]:
    """Run the command without measuring: the cases measured, and the rows written."""
    measured: list[str] = []

    def row(_: object, case: str, __: object) -> list[dict[str, object]]:
        measured.append(case)
        return [{"name": "n", "case": case, "metric": "mpjpe_cm", "value": 1.0, "unit": "cm"}]

    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: still(100, "unseen_subjects"))
    monkeypatch.setattr(evaluate, "methods", lambda *_: {"n": None})
    monkeypatch.setattr(evaluate, "evaluate_split", row)
    out = tmp_path / "f.json"
    evaluate.run(parser.parse_args(["--data", str(tmp_path), "--json", str(out), *arguments]))
    return measured, json.loads(out.read_text())["rows"]


def test_four_sensors_are_reported_and_not_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: `sites=4`, a case named by the issue, was never printed."""
    assert "sites=4" in evaluate.DEFAULT_CASES
    measured, rows = run(
        tmp_path, monkeypatch, "--cases", "sites=4", "unseen_subjects", "no_acceleration"
    )
    assert measured == ["unseen_subjects", "no_acceleration"]
    assert [row["case"] for row in rows] == ["unseen_subjects", "sites=4", "no_acceleration"]
    assert run(tmp_path, monkeypatch, "--cases", "sites=4")[0] == ["sites=4"]


def test_missing_inputs_are_found_before_the_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the real recording was looked for after hours of other cases."""
    monkeypatch.setattr(evaluate, "methods", lambda *_: pytest.fail("too late"))

    def refused(*arguments: str, library: MotionLibrary | None = None) -> str:
        parser = argparse.ArgumentParser()
        evaluate.configure(parser)
        given = library or still(100, "unseen_subjects")
        monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: given)
        with pytest.raises(PallasError) as error:
            evaluate.run(parser.parse_args(["--data", str(tmp_path), *arguments]))
        return str(error.value)

    assert "'real' cannot be measured" in refused("--cases", "unseen_subjects", "real")
    assert "'seen', so it cannot be" in refused("--cases", "unseen_subjects", "seen")
    strips = ("--cases", "unseen_subjects", "--strips", str(tmp_path / "s.png"))
    assert "real_imu_60hz.npz" in refused(*strips)
    (tmp_path / "real_imu_60hz.npz").touch()
    monkeypatch.setattr(evaluate.importlib.util, "find_spec", lambda _: None)
    assert "needs matplotlib" in refused(*strips)
    assert "must end in .png" in refused(*strips[:-1], str(tmp_path / "s.xyz"))
    for library in (still(20, "unseen_subjects"), still(100, "seen")):
        monkeypatch.setattr(evaluate, "clips_of", lambda *_: [])
        assert "--strips draws clips of more than 28 frames" in refused(*strips, library=library)


def test_one_clip_and_the_recording_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pictures, "real_inputs", lambda _: (torch.zeros(1, 60, 48), {}, None))

    def method(imu: torch.Tensor, extra: torch.Tensor | None = None) -> Estimate:
        return Estimate(torch.eye(3).expand(*imu.shape[:2], 22, 3, 3))

    pictures.strips(still(100, "unseen_subjects"), tmp_path, method, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_figures_are_written_before_pictures_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: an error in a picture lost the evaluation."""

    def broken(*_: object) -> None:
        raise RuntimeError("no display")

    (tmp_path / "real_imu_60hz.npz").touch()
    monkeypatch.setattr(evaluate, "strips", broken)
    with pytest.raises(RuntimeError):
        run(
            tmp_path,
            monkeypatch,
            *("--cases", "unseen_subjects", "--strips", str(tmp_path / "s.png")),
        )
    assert json.loads((tmp_path / "f.json").read_text())["rows"]
