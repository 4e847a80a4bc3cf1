"""Calibration: residual errors, and messages for every common mistake."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.imu.calibration import Calibration, SiteCalibration
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.known_pose import KnownPoseCalibrator, TPoseCalibrator
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.procedures import Calibrator, calibrator
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.virtual import SensorNoise, SensorTrack, VirtualSensors

Stream = list[tuple[str, ImuSample]]
Wearer = Callable[..., tuple[Stream, dict[str, SensorTrack]]]
Change = Callable[[str, ImuSample], tuple[str, ImuSample]]

AS_DOCUMENTED = dict.fromkeys(SITES, rotations.IDENTITY)
FLIP = rotations.from_rotvec(np.array([np.pi, 0.0, 0.0]))


def calibrate(
    seeker: Calibrator, stream: Stream, change: Change | None = None
) -> Calibration | None:
    for site, sample in stream:
        found = seeker.push(*(change(site, sample) if change else (site, sample)))
        if found is not None:
            return found
    return None


def bone_errors(calibration: Calibration, tracks: dict[str, SensorTrack]) -> np.ndarray:
    """Mean error of each bone's orientation in degrees, (4,)."""
    errors = []
    for site, track in tracks.items():
        of_site = calibration.sites[site]
        q = rotations.multiply(rotations.about_z(of_site.heading_offset), track.orientation)
        q = rotations.multiply(q, rotations.inverse(of_site.q_bone_sensor))
        errors.append(np.degrees(rotations.angle_between(q, track.q_world_bone)).mean())
    return np.array(errors)


def test_tpose_with_perfect_sensors_is_exact() -> None:
    sensors = VirtualSensors(SensorNoise.none().with_(heading_offset=3.0), seed=4)
    motion = demo_motion(8.0)
    stream = sensors.samples(motion)
    tracks = sensors.tracks(motion)
    calibration = calibrate(TPoseCalibrator(), stream)
    assert calibration is not None
    for site, sample in stream[::7]:
        track = tracks[site]
        i = int(np.argmin(np.abs(track.time - (sample.stamp / 1e9 - 1))))
        q, a = calibration.apply(site, sample)
        assert np.degrees(rotations.angle_between(q, track.q_world_bone[i])) < 0.01
        assert np.linalg.norm(a) < 20
    still = [calibration.apply(site, sample)[1] for site, sample in stream if sample.stamp < 3.5e9]
    assert np.abs(still).max() < 1e-3  # gravity is gone, whatever the mounting and heading


@pytest.mark.parametrize("ahead_s", [4.0, 8.0])
def test_a_wearer_one_step_ahead_must_start_again(guided_wearer: Wearer, ahead_s: float) -> None:
    """Regression: the T-pose was accepted as the N-pose, with forearms wrong by 90 degrees."""
    stream, tracks = guided_wearer(True, None)
    begun = stream[0][1].stamp
    later = stream[-1][1].stamp - begun + 10**7
    ahead = [pair for pair in stream if pair[1].stamp > begun + ahead_s * 1e9]
    again = [
        (site, replace(sample, stamp=sample.stamp + turn * later))
        for turn in (1, 2)
        for site, sample in stream
    ]
    seeker = GuidedCalibrator()
    calibration = calibrate(seeker, ahead + again)
    assert calibration is not None
    assert bone_errors(calibration, tracks).mean() < 2.5
    assert any("begin again: stand" in mistake for mistake in seeker.mistakes)


@pytest.mark.parametrize("functional", [True, False])
def test_guided_calibration_leaves_little(guided_wearer: Wearer, functional: bool) -> None:
    """With 10 degrees of mounting error, any mounting and 30 degrees of heading offset, at most 2.5
    degrees remain on average.
    """
    stream, tracks = guided_wearer(functional, 7 if functional else None)
    calibration = calibrate(
        GuidedCalibrator(functional, None if functional else AS_DOCUMENTED), stream
    )
    assert calibration is not None
    assert bone_errors(calibration, tracks).mean() < 2.5
    for site, of_site in calibration.sites.items():
        assert of_site.residual < np.radians(10)
        if functional or site.endswith("wrist"):
            assert np.degrees(
                of_site.heading_offset - tracks[site].heading_offset
            ) == pytest.approx(0, abs=6)


def swap(a: str, b: str) -> Change:
    return lambda site, sample: ({a: b, b: a}.get(site, site), sample)


def force(change: Callable[[ImuSample], np.ndarray]) -> Change:
    return lambda site, sample: (site, replace(sample, acceleration=change(sample)))


def gravity_of(sample: ImuSample) -> np.ndarray:
    assert sample.orientation is not None
    return rotations.rotate(rotations.inverse(sample.orientation), np.array([0.0, 0.0, GRAVITY]))


def upside_down(site: str, sample: ImuSample) -> tuple[str, ImuSample]:
    if site != "neck":
        return site, sample
    assert sample.orientation is not None
    return site, replace(
        sample,
        orientation=rotations.multiply(sample.orientation, FLIP),
        acceleration=rotations.rotate(FLIP, sample.acceleration),
        angular_velocity=None,
    )


def fidgeting(site: str, sample: ImuSample) -> tuple[str, ImuSample]:
    sway = rotations.from_rotvec(
        np.array([0.0, 0.0, np.radians(6) * np.sin(4.4e-9 * sample.stamp)])
    )
    return site, (
        replace(sample, orientation=rotations.multiply(sway, sample.orientation))
        if site == "left_wrist"
        else sample
    )


MISTAKES: dict[str, tuple[Change, str]] = {
    "swapped wrists": (
        swap("left_wrist", "right_wrist"),
        "left_wrist and right_wrist are exchanged",
    ),
    "neck and waist": (swap("neck", "pelvis"), "neck and pelvis sensors are exchanged"),
    "wrist and neck": (swap("neck", "right_wrist"), "right_wrist and neck are exchanged"),
    "in g": (force(lambda s: s.acceleration / GRAVITY), r"acceleration is in g \(1\.0"),
    "gravity removed": (
        force(lambda s: s.acceleration - gravity_of(s)),
        "gravity has been removed from the acceleration already",
    ),
    "gravity removed twice": (
        force(lambda s: s.acceleration - 2 * gravity_of(s)),
        "gravity has been removed twice",
    ),
    "permuted axes": (force(lambda s: s.acceleration[[1, 2, 0]]), "axes are permuted"),
    "world to sensor": (
        lambda site, s: (site, replace(s, orientation=rotations.inverse(s.orientation))),  # type: ignore[arg-type]
        "the orientation is world to sensor",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(guided_wearer: Wearer, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    stream, _ = guided_wearer(True, 7)
    seeker = GuidedCalibrator()
    assert calibrate(seeker, stream, change) is None
    assert seeker.mistakes
    assert re.search(words, seeker.mistakes[0]), seeker.mistakes


def test_an_upside_down_sensor_is_named_where_the_way_of_wearing_is_known(
    guided_wearer: Wearer,
) -> None:
    stream, _ = guided_wearer(True, None)
    seeker = GuidedCalibrator(True, AS_DOCUMENTED)
    assert calibrate(seeker, stream, upside_down) is None
    assert seeker.mistakes[0].startswith("neck: the sensor is upside down")
    simple = TPoseCalibrator()
    for site, sample in VirtualSensors(seed=2).samples(demo_motion(5.0)):
        assert simple.push(*upside_down(site, sample)) is None
        if sample.stamp > 3.5e9:
            break
    assert simple.problem.startswith("neck: the sensor is upside down")


def test_moving_during_the_pose_is_named(guided_wearer: Wearer) -> None:
    stream, _ = guided_wearer(True, 7)
    seeker = GuidedCalibrator()
    said = set()
    for site, sample in stream[:1500]:
        assert seeker.push(*fidgeting(site, sample)) is None
        said.add(seeker.problem)
    assert any(
        sentence.startswith(("hold still: left_wrist is turning", "left_wrist is turning"))
        for sentence in said
    )


def test_exchanged_wrists_are_named_without_the_functional_part(guided_wearer: Wearer) -> None:
    stream, _ = guided_wearer(False, None)
    seeker = GuidedCalibrator(False, AS_DOCUMENTED)
    assert calibrate(seeker, stream, swap("left_wrist", "right_wrist")) is None
    assert "left_wrist and right_wrist are exchanged" in seeker.mistakes[0]


def test_hanging_arms_are_no_tpose(guided_wearer: Wearer) -> None:
    stream, _ = guided_wearer(False, None)  # it begins with the N-pose
    seeker = TPoseCalibrator()
    for site, sample in stream:
        if sample.stamp > 3.5e9:
            break
        assert seeker.push(site, sample) is None
    assert "hold the arm" in seeker.problem


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_a_known_pose_recovers_the_mounting(seed: int) -> None:
    """For any pose, any known mounting with a tilt error of a few degrees, and any heading."""
    rng = np.random.default_rng(seed)
    pose = {site: rotations.normalise(rng.standard_normal(4)) for site in SITES}
    worn = {site: rotations.normalise(rng.standard_normal(4)) for site in SITES}
    seeker = KnownPoseCalibrator(pose, worn)
    heading = {site: float(rng.uniform(-3, 3)) for site in SITES}
    found = None
    for n in range(200):
        for site in SITES:
            q_world_sensor = rotations.multiply(pose[site], worn[site])
            q_ref_sensor = rotations.multiply(rotations.about_z(-heading[site]), q_world_sensor)
            a = rotations.rotate(rotations.inverse(q_ref_sensor), np.array([0, 0, GRAVITY]))
            found = found or seeker.push(
                site, ImuSample(10**9 + n * 10**7, q_ref_sensor, a, np.zeros(3))
            )
    assert found is not None
    for site in SITES:
        assert rotations.angle_between(found.sites[site].q_bone_sensor, worn[site]) < 1e-6
        assert np.cos(found.sites[site].heading_offset - heading[site]) == pytest.approx(
            1, abs=1e-9
        )


def test_rest_refreshes_and_refuses() -> None:
    stream = VirtualSensors(seed=1).samples(demo_motion(5.0))
    with pytest.raises(PallasError, match="there is none yet"):
        calibrator("rest")
    with pytest.raises(
        PallasError, match="unknown calibration procedure 'dance': known are rest, tpose"
    ):
        calibrator("dance")
    with pytest.raises(PallasError, match="gives no orientation of neck"):
        calibrator("known_pose", joints={"pelvis": (0, 0, 0, 1)})
    first = calibrate(calibrator("tpose"), stream)
    again = calibrate(calibrator("rest", current=first), stream)
    assert first is not None
    assert again is not None
    np.testing.assert_allclose(
        again.sites["neck"].gyroscope_bias, first.sites["neck"].gyroscope_bias, atol=1e-3
    )
    assert again.sites["neck"].heading_offset == first.sites["neck"].heading_offset


# The document


def some_calibration() -> Calibration:
    rng = np.random.default_rng(0)
    sites = {
        site: SiteCalibration(
            rotations.normalise(rng.standard_normal(4)),
            float(rng.normal()),
            1.01,
            rng.normal(size=3),
            0.02,
            f"usb:{site}",
        )
        for site in SITES
    }
    return Calibration(
        sites, "functional", "2026-01-01T00:00:00+00:00", ["left_wrist: one, two: three"]
    )


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    before = some_calibration()
    before.save(tmp_path / "a" / "calibration.yaml")
    after = Calibration.load(tmp_path / "a" / "calibration.yaml")
    assert (after.procedure, after.date, after.warnings) == (
        before.procedure,
        before.date,
        before.warnings,
    )
    for site in SITES:
        np.testing.assert_allclose(
            after.sites[site].q_bone_sensor, before.sites[site].q_bone_sensor, atol=1e-8
        )
        np.testing.assert_allclose(
            after.sites[site].gyroscope_bias, before.sites[site].gyroscope_bias, atol=1e-8
        )
        assert after.sites[site].heading_offset == pytest.approx(
            before.sites[site].heading_offset, abs=1e-8
        )
        assert after.sites[site].sensor == before.sites[site].sensor
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["calibration.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a calibration of format"),
        ("{", "not YAML"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("format: pallas-calibration/1", "damaged calibration"),
        (
            (
                "format: pallas-calibration/1\nsites: {pelvis: {q_bone_sensor: [0, 0, 0, 1],"
                " heading_offset: 0}}"
            ),
            "no calibration for neck",
        ),
        (
            (
                "format: pallas-calibration/1\nsites: {pelvis: {q_bone_sensor: [0, 0, 0, 2],"
                " heading_offset: 0}}"
            ),
            "not a unit quaternion",
        ),
        (
            (
                "format: pallas-calibration/1\nsites: {pelvis: {q_bone_sensor: [0, 0, 0, 1],"
                " heading_offset: .nan}}"
            ),
            "out of range",
        ),
    ],
)
def test_invalid_calibrations_are_rejected(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(PallasError, match=words):
        Calibration.load(path)
    with pytest.raises(PallasError, match="make one with `pallas calibrate`"):
        Calibration.load(tmp_path / "none.yaml")


def test_a_calibration_of_other_sensors_is_refused() -> None:
    calibration = some_calibration()
    here = {site: f"usb:{site}" for site in SITES}
    calibration.check_sensors(here)
    calibration.check_sensors({**here, "neck": ""})
    with pytest.raises(
        PallasError,
        match=(
            "made with sensor usb:neck on neck, but usb:other is there: swap the sensors back, or"
            " calibrate again"
        ),
    ):
        calibration.check_sensors({**here, "neck": "usb:other"})
    with pytest.raises(PallasError, match="it belongs on right_wrist"):
        calibration.check_sensors(
            {**here, "left_wrist": "usb:right_wrist", "right_wrist": "usb:left_wrist"}
        )
