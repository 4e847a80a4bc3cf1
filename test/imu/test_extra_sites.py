"""Optional sensors: recordings, synchroniser, calibration, messages and network input."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import EXTRA_SITES, SITES
from pallas_ros.body.sites import PER_EXTRA, RETURN_FRAMES, worn_sites
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.known_pose import TPoseCalibrator
from pallas_ros.imu.motions import calibration_motion, demo_motion
from pallas_ros.imu.procedures import Calibrator, calibrator
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.messages.decode import imu_frame_from_msg
from pallas_ros.pipeline import Pipeline
from pallas_ros.runtime.estimator import BodyEstimator

SHINS = EXTRA_SITES[:2]
WORN = (*SITES, *SHINS)


class Tap:
    """Replaces the network and stores its input."""

    def __init__(self) -> None:
        self.inputs = {"imu": (1, 48), "latent": (1, 8), "extra": (1, 91)}
        self.seen: list[np.ndarray] = []

    def reset(self) -> None: ...

    def step(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(inputs["extra"][0].reshape(len(EXTRA_SITES), PER_EXTRA).copy())
        upright = np.zeros((1, 22, 6), np.float32)
        upright[..., [0, 4]] = 1.0
        return {
            "rotations": upright,
            "contacts": np.ones((1, 2), np.float32),
            "root_velocity": np.zeros((1, 3), np.float32),
            "deviation": np.full((1, 22), 0.01, np.float32),
        }


def frames(lost: tuple[float, float] = (9.0, 9.0), seconds: float = 6.0) -> list[ImuFrame]:
    """Synchronised frames of an error-free wearer with shin sensors; the left shin is silent for a
    while.
    """
    synchroniser = Synchroniser(sites=WORN)
    calibration = Calibration.identity(WORN)
    out: list[ImuFrame] = []
    motion = demo_motion(seconds)
    for site, sample in VirtualSensors(SensorNoise.none(), sites=WORN).samples(motion):
        at = sample.stamp / 1e9 - 1.0
        if site == "left_shin" and lost[0] <= at < lost[1]:
            continue
        out += synchroniser.push(site, sample.stamp, *calibration.apply(site, sample))
    return out


def write(path: Path, sites: list[str]) -> Path:
    """Write a recording of still sensors."""
    count = len(sites)
    np.savez(
        path,
        sites=np.array(sites),
        stamp=np.arange(120) / 60,
        orientation=np.tile([0.0, 0.0, 0.0, 1.0], (120, count, 1)),
        linear_acceleration=np.tile(np.arange(count)[:, None] * [0.0, 0.0, 1.0], (120, 1, 1)),
        calibrated=True,
    )
    return path


@pytest.mark.parametrize(
    ("sites", "match"),
    [
        ((*SITES, "left_toe"), "unknown sensor site 'left_toe'"),
        ((*SITES, "head", "head"), "'head' is given twice"),
        (SITES[:3], "no sensor for right_wrist"),
    ],
)
def test_a_wrong_choice_of_sites_is_one_sentence(sites: tuple[str, ...], match: str) -> None:
    with pytest.raises(PallasError, match=match):
        worn_sites(sites)


def test_sites_come_in_one_order() -> None:
    assert worn_sites(("head", *reversed(SITES), "left_shin")) == (*SITES, "left_shin", "head")


def test_recordings_return_the_requested_optional_sites(tmp_path: Path) -> None:
    path = write(tmp_path / "r.npz", ["left_knee", "right_knee", "head", *SITES])
    assert load_recording(path).sites == SITES
    every = load_recording(path, extra_sites=["all"])
    assert every.sites == (*SITES, "left_shin", "right_shin", "head")
    assert every.acceleration[0, :, 2].tolist() == [3, 4, 5, 6, 0, 1, 2]
    assert load_recording(path, extra_sites=["head"]).sites == (*SITES, "head")
    assert every.with_lead_in().raw().sites == every.sites
    assert set(every.tracks()) == set(every.sites)


def test_a_head_that_stands_for_the_neck_is_not_used_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "r.npz", ["pelvis", "head", "left_wrist", "right_wrist"])
    assert load_recording(path, extra_sites=["all"]).sites == SITES


@pytest.mark.parametrize(
    ("sites", "extra", "match"),
    [
        ([*SITES, "head", "head"], ["head"], "'head' occurs twice"),
        ([*SITES], ["left_shin"], "no sensor for left_shin"),
        ([*SITES], ["left_toe"], "unknown sensor site 'left_toe'"),
        (list(SITES[:3]), [], "no sensor for right_wrist"),
    ],
)
def test_a_wrong_recording_is_one_sentence(
    tmp_path: Path, sites: list[str], extra: list[str], match: str
) -> None:
    with pytest.raises(PallasError, match=match):
        load_recording(write(tmp_path / "r.npz", sites), extra_sites=extra)


def test_the_four_sensors_are_independent_of_optional_ones() -> None:
    motion = demo_motion(5.0)
    four, six = (VirtualSensors(seed=3, sites=sites).tracks(motion) for sites in (SITES, WORN))
    for site in SITES:
        np.testing.assert_array_equal(four[site].acceleration, six[site].acceleration)


def test_a_lost_optional_sensor_is_known_within_a_tenth_of_a_second_and_delays_nothing() -> None:
    whole = frames()
    broken = frames(lost=(2.0, 4.0))
    assert [f.stamp for f in whole] == [f.stamp for f in broken]
    assert all(f.extra is not None and f.extra.sites == SHINS for f in broken)
    for frame, other in zip(broken, whole):
        assert frame.extra is not None and other.extra is not None
        at = frame.stamp / 1e9 - 1.0
        assert frame.extra.valid[1]
        if at < 1.98 or at > 4.02:
            assert frame.extra.valid[0]
        if 2.0 + 0.1 + 0.02 < at < 3.85:
            assert not frame.extra.valid[0]
        np.testing.assert_allclose(frame.orientation, other.orientation)
        assert frame.valid.all()
    fed = [f.newest_input - f.stamp for f in broken]
    assert max(fed) <= max(f.newest_input - f.stamp for f in whole)


def test_it_counts_less_at_once_and_comes_back_little_by_little() -> None:
    tap = Tap()
    estimator = BodyEstimator(tap, Skeleton.from_height())  # type: ignore[arg-type]
    bodies = [(f, estimator.step(f)) for f in frames(lost=(2.0, 4.0))]
    count = np.array([row[0, 0] for row in tap.seen])
    valid = np.array([f.extra is not None and f.extra.valid[0] for f, _ in bodies])
    assert count[0] == 1.0 and (count[~valid] == 0).all()
    back = np.flatnonzero(np.diff(valid.astype(int)) == 1)[-1] + 1
    steps = np.diff(count[back - 1 : back + RETURN_FRAMES])
    np.testing.assert_allclose(steps, 1 / RETURN_FRAMES, atol=1e-6)
    assert all((row[4:] == 0).all() for row in tap.seen)  # nothing but shins is worn
    lost = next(body for (_, body), ok in zip(bodies, valid) if not ok)
    assert lost.valid.all() and "left shin" in lost.remarks[0]


def test_inputs_are_those_that_training_makes() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, sense

    motion = demo_motion(12.0)
    tap = Tap()
    estimator = BodyEstimator(tap, Skeleton.from_height())  # type: ignore[arg-type]
    stamps = []
    for frame in frames(seconds=12.0):
        estimator.step(frame)
        stamps.append(frame.stamp - 10**9)
    at = np.round(np.array(stamps) * motion.fps / 1e9).astype(int)

    def batch(values: Any) -> Any:
        return torch.from_numpy(np.array(values, np.float32))[None]

    sequence = sense(
        batch(motion.rotations),
        batch(motion.positions[:, 0]),
        torch.zeros(1, len(motion), 2),
        batch(Skeleton.from_height().offsets),
        SensorErrors().scaled(0.0),
        torch.Generator().manual_seed(0),
    )
    wanted = sequence.wearing(SHINS)[0].reshape(-1, len(EXTRA_SITES), PER_EXTRA).numpy()
    common = np.intersect1d(at[10:], np.arange(MARGIN, MARGIN + len(wanted)))
    fed = np.array(tap.seen)[np.searchsorted(at, common)]
    wanted = wanted[common - MARGIN]
    assert np.abs(fed[..., 0] - wanted[..., 0]).max() == 0
    assert np.abs(fed[..., 4:] - wanted[..., 4:]).max() < 3e-3
    error = np.sqrt(np.mean((fed[..., 1:4] - wanted[..., 1:4]) ** 2))
    assert error < 0.05 * np.sqrt(np.mean(wanted[..., 1:4] ** 2))


def test_the_t_pose_calibrates_all_that_is_worn(tmp_path: Path) -> None:
    seeker = TPoseCalibrator(sites=WORN)
    found = None
    noise = SensorNoise(mounting_error=float(np.radians(8)))
    for site, sample in VirtualSensors(noise, sites=WORN).samples(demo_motion(5.0)):
        found = found or seeker.push(site, sample)
    assert found is not None and tuple(found.sites) == WORN
    found.save(tmp_path / "c.yaml")
    assert tuple(Calibration.load(tmp_path / "c.yaml").sites) == WORN
    text = (tmp_path / "c.yaml").read_text().replace("left_shin", "left_toe")
    with pytest.raises(PallasError, match="unknown sensor site 'left_toe'"):
        Calibration.from_yaml(text)


def test_the_guided_procedure_takes_them_along() -> None:
    sites = (*SITES, *EXTRA_SITES)
    seeker = calibrator("npose_tpose", sites=sites)
    found = None
    sensors = VirtualSensors(SensorNoise(mounting_error=float(np.radians(5))), sites=sites)
    for site, sample in sensors.samples(calibration_motion(False)):
        found = found or seeker.push(site, sample)
    assert found is not None, seeker.problem
    assert set(found.sites) == set(sites)
    assert max(of_site.residual for of_site in found.sites.values()) < np.radians(15)


def test_frames_of_bags_bring_them() -> None:
    def vector(**values: float) -> SimpleNamespace:
        return SimpleNamespace(**values)

    q = vector(x=0.0, y=0.0, z=0.0, w=1.0)
    a = vector(x=1.0, y=2.0, z=3.0)
    stamp = SimpleNamespace(sec=1, nanosec=0)
    old = SimpleNamespace(
        header=SimpleNamespace(stamp=stamp),
        orientation=[q] * 4,
        acceleration=[a] * 4,
        valid=[True] * 4,
        age=[0.0] * 4,
        heading_drift=[0.0] * 4,
        newest_input=stamp,
    )
    assert imu_frame_from_msg(old).extra is None
    new = SimpleNamespace(
        **vars(old),
        extra_sites=["head"],
        extra_orientation=[q],
        extra_acceleration=[a],
        extra_age=[0.1],
        extra_valid=[False],
    )
    extra = imu_frame_from_msg(new).extra
    assert extra is not None and extra.sites == ("head",) and not extra.valid[0]
    np.testing.assert_array_equal(extra.orientation, [rotations.IDENTITY])
    new.extra_age = []
    with pytest.raises(PallasError, match="1 optional sites"):
        imu_frame_from_msg(new)


def test_the_driver_wants_a_port_for_each() -> None:
    ports = [f"/dev/none{i}" for i in range(6)]
    driver = ImuDriver(ports, ["witmotion"], lambda site, sample: None, sites=WORN)
    assert driver.sites == WORN
    with pytest.raises(PallasError, match=r"4 ports are given: give one for each of .*right_shin"):
        ImuDriver(ports[:4], ["witmotion"], lambda site, sample: None, sites=WORN)


Sensed = list[tuple[str, ImuSample]]


def without(samples: Sensed, site: str, begin: float = 0.0, end: float = np.inf) -> Sensed:
    """Leave out the samples of a site in an interval, s since the start."""
    first = samples[0][1].stamp
    return [
        (at, sample)
        for at, sample in samples
        if at != site or not begin <= (sample.stamp - first) / 1e9 < end
    ]


def sought(seeker: Calibrator, samples: Sensed) -> Calibration:
    """Return the calibration of these samples."""
    for site, sample in samples:
        found = seeker.push(site, sample)
        if found is not None:
            return found
    raise AssertionError(seeker.problem)


def still(seconds: float, sites: tuple[str, ...] = WORN) -> Sensed:
    """Samples of a wearer who stands still in the T-pose."""
    up = np.array([0.0, 0.0, GRAVITY])
    return [
        (site, ImuSample(10**9 + k * 10**7, rotations.IDENTITY, up, np.full(3, 0.01)))
        for k in range(round(seconds * 100))
        for site in sites
    ]


@pytest.mark.parametrize("dead_from", [0.0, 0.5])
def test_a_silent_optional_sensor_is_left_out_of_the_calibration(dead_from: float) -> None:
    found = sought(TPoseCalibrator(sites=WORN), without(still(8.0), "left_shin", dead_from))
    assert tuple(found.sites) == (*SITES, "right_shin")
    assert [w for w in found.warnings if "left_shin: no usable samples" in w]


def test_a_required_sensor_is_waited_for() -> None:
    seeker = TPoseCalibrator(sites=WORN)
    for site, sample in without(still(8.0), "neck"):
        assert seeker.push(site, sample) is None
    assert "waiting for neck" in seeker.problem


def test_an_optional_sensor_that_starts_late_is_waited_for() -> None:
    found = sought(TPoseCalibrator(sites=WORN), without(still(8.0), "left_shin", 0.0, 2.0))
    assert tuple(found.sites) == WORN and not found.warnings


def raising(hold_s: int = 6) -> Sensed:
    """Samples of a wearer who holds the N-pose for ``hold_s`` and then the T-pose for 6 s."""
    up = np.array([0.0, 0.0, GRAVITY])
    samples: Sensed = []
    for k in range(100 * hold_s + 750):
        turn = np.array([np.radians(np.interp(k - 100 * hold_s, [0, 150], [90, 0])), 0.0, 0.0])
        bones = dict.fromkeys(WORN, rotations.IDENTITY) | {
            "left_wrist": rotations.from_rotvec(-turn),
            "right_wrist": rotations.from_rotvec(turn),
        }
        samples += [
            (
                site,
                ImuSample(
                    10**9 + k * 10**7, q, rotations.rotate(rotations.inverse(q), up), np.zeros(3)
                ),
            )
            for site, q in bones.items()
        ]
    return samples


@pytest.mark.parametrize("dead", [(0.0, np.inf), (6.5, np.inf), (0.0, 7.0)])
def test_the_guided_procedure_leaves_out_a_sensor_that_is_silent(
    dead: tuple[float, float],
) -> None:
    found = sought(calibrator("npose_tpose", sites=WORN), without(raising(), "left_shin", *dead))
    assert tuple(found.sites) == (*SITES, "right_shin")
    assert [w for w in found.warnings if "left_shin: no usable samples" in w]


def test_the_guided_procedure_keeps_a_sensor_that_was_silent_in_a_refused_pose_only() -> None:
    """Regression: the N-pose is refused at first, because the neck sensor reports g, not m/s²."""
    samples = [
        (site, replace(sample, acceleration=sample.acceleration / GRAVITY))
        if site == "neck" and sample.stamp < 7 * 10**9
        else (site, sample)
        for site, sample in without(raising(9), "left_shin", 0.0, 5.5)
    ]
    calibration = calibrator("npose_tpose", sites=WORN)
    found = sought(calibration, samples)
    assert any("neck" in mistake for mistake in calibration.mistakes)
    assert tuple(found.sites) == WORN and not found.warnings


def test_rest_refreshes_optional_sensors() -> None:
    first = sought(TPoseCalibrator(sites=WORN), still(8.0))
    first.sites["left_shin"].gyroscope_bias = np.zeros(3)
    again = sought(calibrator("rest", current=first), still(8.0))
    assert tuple(again.sites) == WORN and not again.warnings
    np.testing.assert_allclose(again.sites["left_shin"].gyroscope_bias, 0.01)


def test_rest_keeps_the_calibration_of_a_silent_optional_sensor() -> None:
    first = sought(TPoseCalibrator(sites=WORN), still(8.0))
    again = first
    for _ in range(2):
        again = sought(calibrator("rest", current=again), without(still(8.0), "left_shin"))
    assert tuple(again.sites) == WORN
    assert again.sites["left_shin"] == first.sites["left_shin"]
    (warning,) = again.warnings
    assert warning.startswith("left_shin: no usable samples, so its calibration was not refreshed")
    assert not sought(calibrator("rest", current=again), still(8.0)).warnings


def functional(slips: str = "") -> tuple[Calibrator, Calibration | None]:
    """Run the functional calibration; half of the rotation about z of the site ``slips`` is
    missing in the turn.
    """
    sites = (*SITES, *EXTRA_SITES)
    seeker = calibrator("functional", sites=sites)
    for site, sample in VirtualSensors(SensorNoise.none(), sites=sites).samples(
        calibration_motion()
    ):
        assert sample.orientation is not None
        if site == slips and isinstance(seeker, GuidedCalibrator) and len(seeker.finished) == 5:
            missing = -0.5 * float(rotations.turn_about_z(sample.orientation))
            turned = rotations.multiply(rotations.about_z(missing), sample.orientation)
            sample = replace(sample, orientation=turned)
        found = seeker.push(site, sample)
        if found is not None:
            return seeker, found
    return seeker, None


def test_the_functional_procedure_says_which_headings_it_does_not_measure() -> None:
    seeker, found = functional()
    assert found is not None, seeker.problem
    for site in EXTRA_SITES:
        assert [w for w in found.warnings if w.startswith(f"{site}: its heading follows from")]
    assert not [w for w in found.warnings if w.startswith(SITES)]


@pytest.mark.parametrize("site", ["head", "left_shin"])
def test_an_optional_sensor_that_slips_is_named(site: str) -> None:
    seeker, found = functional(site)
    assert found is None
    assert re.search(f"{site}: turned .* the sensor slips", seeker.problem)


def pushed(synchroniser: Synchroniser, samples: Sensed) -> list[ImuFrame]:
    """Return the frames that these samples complete."""
    at_rest = np.zeros(3)
    out: list[ImuFrame] = []
    for site, sample in samples:
        out += synchroniser.push(site, sample.stamp, rotations.IDENTITY, at_rest)
    return out


@pytest.mark.parametrize("resets", [1, 2])
@pytest.mark.parametrize("dead_from", [0.0, 1.0])
def test_a_reset_does_not_wait_for_an_optional_sensor_that_was_silent(
    dead_from: float, resets: int
) -> None:
    synchroniser = Synchroniser(sites=WORN)
    samples = without(still(4.0), "left_shin", dead_from, 3.0)
    half = next(i for i, (_, sample) in enumerate(samples) if sample.stamp >= 3 * 10**9)
    before = pushed(synchroniser, samples[:half])
    for _ in range(resets):
        synchroniser.reset()
    after = pushed(synchroniser, samples[half:])
    assert after[0].stamp - before[-1].stamp < 5 * 10**7
    extra = after[-1].extra
    assert extra is not None and extra.valid.all()  # it is used again when it returns


def test_a_reset_waits_for_an_optional_sensor_that_was_there() -> None:
    synchroniser = Synchroniser(sites=WORN)
    pushed(synchroniser, still(2.0))
    synchroniser.reset()
    assert not pushed(synchroniser, without(still(0.4), "left_shin"))


class Upright:
    """Replaces the estimator."""

    def reset(self) -> None: ...

    def step(self, frame: ImuFrame) -> BodyFrame:
        none = np.zeros((22, 3))
        upright = np.tile(rotations.IDENTITY, (22, 1))
        known = np.ones(22, bool)
        return BodyFrame(
            frame.stamp, upright, none, None, known, np.ones(22), np.zeros(2), frame.newest_input
        )


@pytest.mark.parametrize("later", [False, True])
def test_an_optional_sensor_that_is_not_calibrated_is_not_reported_as_silent(later: bool) -> None:
    worn = Calibration.identity((*SITES, "right_shin"))
    pipeline = Pipeline(
        Calibration.identity(WORN) if later else worn,
        Synchroniser(sites=WORN),
        Upright(),
        intake=Intake(sites=WORN),
    )
    if later:
        pipeline.apply_calibration(worn, 0)
    bodies = [body for site, sample in still(3.0) for body in pipeline.push(site, sample)]
    assert bodies[0].stamp < 10**9 + 5 * 10**7  # not waited for
    assert pipeline.imu_frame is not None and pipeline.imu_frame.extra is not None
    assert pipeline.imu_frame.extra.sites == ("right_shin",)
    assert [remark for remark in pipeline.remarks() if "left_shin" in remark] == [
        "left_shin: worn but not calibrated, so it is not used: calibrate again while wearing it"
    ]
    pipeline.apply_calibration(Calibration.identity(WORN), 4 * 10**9)
    for site, sample in still(6.0):
        pipeline.push(site, sample)
    assert pipeline.imu_frame.extra.sites == WORN[4:] and not pipeline.remarks()
