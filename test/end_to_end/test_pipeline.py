"""The pipeline: calibrations take effect by timestamp, determinism, and recordings through `pallas
process`.
"""

from pathlib import Path

import numpy as np
import pytest

from pallas_ros import cli
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.motion import load_motion, save_npz
from pallas_ros.body.names import JOINTS, SITES
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.known_pose import TPoseCalibrator
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.imu.virtual import VirtualSensors
from pallas_ros.pipeline import Pipeline, PipelineSettings, read_document, segment_lengths


class Recorder:
    """Replaces the estimator and stores its input."""

    def __init__(self) -> None:
        self.frames: list[ImuFrame] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def step(self, frame: ImuFrame) -> BodyFrame:
        self.frames.append(frame)
        zeros = np.zeros((len(JOINTS), 3))
        ones = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))
        return BodyFrame(
            frame.stamp,
            ones,
            zeros,
            None,
            np.ones(22, bool),
            np.ones(22),
            np.zeros(2),
            frame.newest_input,
        )


@pytest.fixture(scope="module")
def samples() -> list[tuple[str, ImuSample]]:
    return VirtualSensors(seed=3).samples(demo_motion(6.0))


def feed(pipeline: Pipeline, samples: list[tuple[str, ImuSample]]) -> list[BodyFrame]:
    return [body for site, sample in samples for body in pipeline.push(site, sample)]


def test_nothing_comes_out_before_the_calibration_and_60_hz_after_it(
    samples: list[tuple[str, ImuSample]],
) -> None:
    estimator = Recorder()
    pipeline = Pipeline(TPoseCalibrator(), Synchroniser(), estimator, "me")
    bodies = feed(pipeline, samples)
    assert pipeline.calibration is not None
    assert estimator.resets == 1
    assert all(body.stamp > pipeline.from_stamp and body.body_id == "me" for body in bodies)
    assert np.abs(np.diff([body.stamp for body in bodies]) - 1e9 / 60).max() < 2


def test_the_recorded_calibration_gives_equal_frames_for_any_order_of_sites(
    samples: list[tuple[str, ImuSample]],
) -> None:
    live = Recorder()
    pipeline = Pipeline(TPoseCalibrator(), Synchroniser(), live)
    feed(pipeline, samples)
    calibration, stamp = read_document(pipeline.document())
    assert stamp == pipeline.from_stamp
    again = Recorder()
    replay = Pipeline(TPoseCalibrator(), Synchroniser(), again)
    replay.apply_calibration(calibration, stamp)
    feed(replay, sorted(samples, key=lambda entry: (entry[1].stamp, SITES.index(entry[0]))))
    mine, theirs = ({frame.stamp: frame for frame in run.frames} for run in (live, again))
    assert min(mine) == min(theirs)
    common = sorted(set(mine) & set(theirs))
    assert len(common) > 0.98 * len(mine)
    for stamp in common:
        assert np.allclose(mine[stamp].orientation, theirs[stamp].orientation, atol=1e-6)
        assert np.allclose(mine[stamp].acceleration, theirs[stamp].acceleration, atol=1e-6)


def test_a_calibration_can_be_sought_while_bodies_go_on(
    samples: list[tuple[str, ImuSample]],
) -> None:
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), Recorder())
    pipeline.calibrate(TPoseCalibrator())
    before = feed(pipeline, samples[:200])
    assert before
    feed(pipeline, samples[200:1200])
    assert pipeline.calibration is not None
    assert pipeline.calibration.procedure == "tpose"


def test_samples_without_orientation_are_counted_with_the_reason() -> None:
    pipeline = Pipeline(TPoseCalibrator(), Synchroniser(), Recorder())
    for k in range(5):
        assert not pipeline.push("neck", ImuSample(k + 1, None, np.array([0.0, 0.0, 9.81])))
    assert pipeline.dropped()["neck: no orientation"] == 5
    assert "neck: 5 of 5 samples refused: there is no orientation" in pipeline.remarks()[0]
    assert pipeline.no_body_reason() == pipeline.remarks()[0]


def test_a_mistake_in_the_pose_is_reported_instead_of_the_last_observation(
    samples: list[tuple[str, ImuSample]],
) -> None:
    flip = np.array([1.0, 0.0, 0.0, 0.0])
    pipeline = Pipeline(TPoseCalibrator(), Synchroniser(), Recorder())
    for site, sample in samples:
        if site == "left_wrist" and sample.orientation is not None:
            turned = rotations.multiply(sample.orientation, flip)
            force = rotations.rotate(flip, sample.acceleration)
            sample = ImuSample(sample.stamp, turned, force)
        pipeline.push(site, sample)
    assert "left_wrist: the sensor is upside down" in pipeline.no_body_reason()


def test_segments_are_words_of_name_and_metres() -> None:
    assert segment_lengths(["upper_arm=0.31"]) == {"upper_arm": 0.31}
    with pytest.raises(PallasError, match=r"upper_arm=0\.31"):
        segment_lengths(["upper_arm:0.31"])


@pytest.fixture
def recording(tmp_path: Path, samples: list[tuple[str, ImuSample]]) -> Path:
    by_site = {site: [sample for at, sample in samples if at == site] for site in SITES}
    count = min(map(len, by_site.values()))
    path = tmp_path / "raw.npz"
    arrays = {
        "sites": np.array(SITES),
        "stamp": np.array([sample.stamp for sample in by_site["pelvis"][:count]]) * 1e-9,
        "orientation": np.stack(
            [[sample.orientation for sample in by_site[site][:count]] for site in SITES], axis=1
        ),
        "linear_acceleration": np.stack(
            [[sample.acceleration for sample in by_site[site][:count]] for site in SITES], axis=1
        ),
        "calibrated": np.array(False),
    }
    save_npz(path, arrays)
    return path


def test_process_turns_a_raw_recording_into_a_motion(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "motion.npz"
    assert cli.main(["process", str(recording), str(out)]) == 0
    assert "times real time" in capsys.readouterr().out
    motion = load_motion(out)
    assert motion.fps == 60
    assert motion.valid is not None
    assert motion.valid.all()
    assert 3.0 < motion.duration < 5.0  # 6 s less the T-pose


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz", "out.npz"], "missing.npz: no such file"),
        (["{recording}", "out.bvh"], "a motion file ends in .npz"),
        (
            ["{recording}", "out.npz", "--height", "3"],
            "--height is 3, but must be a number from 1.2 to 2.2 m",
        ),
        (["{recording}", "out.npz", "--calibration", "none.yaml"], "none.yaml: no such file"),
        (["{recording}", "out.npz", "--model", "none.onnx"], "none.onnx: no such file"),
    ],
)
def test_process_refuses_bad_input_in_one_sentence_and_writes_nothing(
    arguments: list[str],
    sentence: str,
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["process", *(word.format(recording=recording) for word in arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert said.count("\n") == 0
    assert not (tmp_path / "out.npz").exists()


def test_settings_are_parameters_of_the_node() -> None:
    from pallas_ros.files.parameters import describe

    described = describe("pallas_node")
    for name in PipelineSettings.__dataclass_fields__:
        default = described[name].default
        assert (
            tuple(default) == tuple(getattr(PipelineSettings, name))
            if isinstance(default, list)
            else default == getattr(PipelineSettings, name)
        ), name
