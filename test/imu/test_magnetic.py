"""Magnetometers: gyroscope bias steps, steel that rotates the field, and uninformative fields."""

import math

import numpy as np
import pytest
from vqf import VQF

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.imu.faults import Faults, afflicted, swaying
from pallas_ros.imu.field_model import CommonField
from pallas_ros.imu.magnetic import PERIOD_S, MagneticHeading
from pallas_ros.imu.motions import everyday_motion
from pallas_ros.imu.orientation import OrientationFilter
from pallas_ros.imu.virtual import MAGNETIC_DIP, SensorNoise, VirtualSensors

EARTH = np.array([0.0, math.cos(MAGNETIC_DIP), -math.sin(MAGNETIC_DIP)])  # y to magnetic north
AXES = np.eye(3)  # of the six-axis frame in the sensor's, whose z is up


def follow(
    filter_: MagneticHeading,
    seconds: float,
    drift: float,
    rate: float,
    steel: np.ndarray | float = 0.0,
) -> tuple[float, np.ndarray]:
    """Feed a six-axis orientation that drifts from ``drift`` rad at ``rate`` rad/s; return the
    final drift and the errors over time.
    """
    errors = []
    for _ in range(round(seconds / PERIOD_S)):
        drift += rate * PERIOD_S
        field = rotations.rotate(rotations.about_z(drift), EARTH + steel)
        errors.append(filter_.step(field, AXES, np.zeros(3)) - drift)
    return drift, np.degrees((np.array(errors) + math.pi) % (2 * math.pi) - math.pi)


def test_a_bias_that_steps_is_followed() -> None:
    found = MagneticHeading()
    drift, _ = follow(found, 30, 0.7, 0.0)
    for rate in (math.radians(0.5), 0.0, math.radians(-0.5)):
        drift, errors = follow(found, 120, drift, rate)
        assert np.abs(errors).max() < 5.0
        assert np.abs(errors[-round(20 / PERIOD_S) :]).max() < 1.0


@pytest.mark.parametrize("angle_deg", [15, 40, 120])
def test_a_field_rotated_sideways_is_rejected(angle_deg: float) -> None:
    """Strength and dip are those of the earth; only the gyroscope reveals it. The learned bias
    stays in use.
    """
    found = MagneticHeading()
    drift, _ = follow(found, 120, 0.0, math.radians(0.3))
    turned = rotations.rotate(rotations.about_z(math.radians(angle_deg)), EARTH) - EARTH
    drift, errors = follow(found, 10, drift, math.radians(0.3), turned)
    assert found.clean < 0.5
    assert np.abs(errors).max() < 4.0
    drift, errors = follow(found, 20, drift, math.radians(0.3))
    assert found.clean > 0.5
    assert np.abs(errors).max() < 4.0


def test_strong_steel_for_a_minute_and_a_bias_step_within_are_recovered_from() -> None:
    found = MagneticHeading()
    drift, _ = follow(found, 60, 0.0, 0.0)
    drift, _ = follow(found, 10, drift, 0.0, np.array([0.6, 0.3, 0.4]))
    drift, errors = follow(found, 50, drift, math.radians(0.5), np.array([0.6, 0.3, 0.4]))
    assert np.abs(errors).max() < 30.0  # 25 degrees: nothing can be known meanwhile
    drift, errors = follow(found, 80, drift, math.radians(0.5))
    assert np.abs(errors[-round(30 / PERIOD_S) :]).max() < 1.5


def test_a_step_shows_sooner_where_the_field_has_been_calm() -> None:
    largest = []
    for restlessness in (0.0, 0.03):
        found = MagneticHeading()
        rng = np.random.default_rng(4)
        field = np.zeros(3)
        for _ in range(round(150 / PERIOD_S)):
            field += 0.05 * (rng.standard_normal(3) * restlessness * 40**0.5 / 2 - field)
            found.step(EARTH + field, AXES, np.zeros(3))
        before = found.drift
        _, errors = follow(found, 20, 0.0, math.radians(0.5))
        largest.append(np.abs(errors - math.degrees(before)).max())
    assert largest[0] < 2.5
    assert largest[0] < 0.7 * largest[1]


def test_the_bias_estimate_is_valid_after_turning_the_sensor_over() -> None:
    """The axis that is now vertical was horizontal for a minute and had no bias: a field that
    starts to rotate is steel, not drift.
    """
    found = MagneticHeading()
    angle = 0.0
    for _ in range(round(60 / PERIOD_S)):
        found.step(EARTH, AXES, np.zeros(3))
    for _ in range(round(10 / PERIOD_S)):
        angle += math.radians(0.3) * PERIOD_S
        found.step(rotations.rotate(rotations.about_z(angle), EARTH), AXES[[1, 2, 0]], np.zeros(3))
    assert math.degrees(found.drift) < 2.0  # of 3


def lean_and_drift(
    found: MagneticHeading, seconds: float, bias: np.ndarray, gravity: bool = True
) -> np.ndarray:
    """Errors of the drift in degrees after a bias step of (3,) rad/s in an upright sensor that a
    six-axis filter levels with a lag of 3 s.

    The frame, and the field with it, leans by the tilt that is not yet corrected. Without
    ``gravity`` the levelling is not reported.
    """
    drift = found.drift
    lean = np.zeros(3)
    errors = []
    levelled = np.zeros(3)
    for _ in range(round(seconds / PERIOD_S)):
        levelled += (1 - math.exp(-PERIOD_S / 3.0)) * (bias * (1, 1, 0) - levelled)
        lean = 3.0 * levelled
        drift += bias[2] * PERIOD_S
        field = rotations.rotate(
            rotations.from_rotvec(lean), rotations.rotate(rotations.about_z(drift), EARTH)
        )
        errors.append(
            found.step(field, AXES, np.zeros(3), levelled[:2] if gravity else np.full(2, np.nan))
            - drift
        )
    return np.degrees(errors)


@pytest.mark.parametrize("drift", [0.0, 0.7, -2.0])
def test_a_frame_that_leans_is_not_taken_for_drift(drift: float) -> None:
    """A bias of 0.5 deg/s about the north axis tilts the frame by 1.5 degrees, and the field seems
    rotated by 2.6.
    """
    bias = rotations.rotate(rotations.about_z(drift), np.radians((0.0, 0.5, 0.0)))
    largest = {}
    for gravity in (True, False):
        found = MagneticHeading()
        follow(found, 60, drift, 0.0)
        largest[gravity] = np.abs(lean_and_drift(found, 60, bias, gravity)).max()
    assert largest[True] < 1.0, largest
    assert largest[False] > 2.0, largest


def test_gravity_shows_at_once_that_a_bias_has_stepped() -> None:
    """About a slanted axis: the part observed by gravity makes the rest credible, although the
    field is not calm.
    """
    bias = np.radians((0.25, 0.25, 0.35))
    rng = np.random.default_rng(2)
    largest = {}
    for gravity in (True, False):
        found = MagneticHeading()
        field = np.zeros(3)
        for _ in range(round(120 / PERIOD_S)):
            field += 0.05 * (rng.standard_normal(3) * 0.02 * 40**0.5 / 2 - field)
            found.step(EARTH + field, AXES, np.zeros(3))
        largest[gravity] = np.abs(lean_and_drift(found, 30, bias, gravity)).max()
    assert largest[True] < 0.8, largest
    assert largest[True] < 0.75 * largest[False], largest


def test_a_corrected_frame_gives_no_bias() -> None:
    found = MagneticHeading()
    follow(found, 60, 0.0, 0.0)
    for rate in (1.0, 0.8, 0.5, 0.2, 0.1, 0.06):
        assert abs(math.degrees(found.step(EARTH, AXES, np.zeros(3), np.array((0.0, rate))))) < 0.2


@pytest.mark.parametrize("turning", [False, True])
def test_at_rest_the_rate_is_the_bias(turning: bool) -> None:
    """Near steel that cancels the horizontal field, so the field is uninformative; a slow rotation
    is not rest.
    """
    found = MagneticHeading()
    bias = np.radians((0.0, 0.0, 0.5))
    drift = 0.0
    cancelled = np.array((0.0, -0.98 * EARTH[1], 0.0))
    follow(found, 60, 0.0, 0.0)
    follow(found, 5, 0.0, 0.0, cancelled)
    for _ in range(round(20 / PERIOD_S)):
        turn = math.radians(2.0) if turning else 0.0
        drift += bias[2] * PERIOD_S
        field = rotations.rotate(rotations.about_z(drift), EARTH + cancelled)
        found.step(field, AXES, np.zeros(3), np.zeros(2), bias + (0.0, 0.0, turn))
    error = abs(math.degrees(drift - found.drift))
    assert 6.0 < error < 12.0 if turning else error < 2.0


def test_a_field_that_is_no_field_changes_nothing() -> None:
    found = MagneticHeading()
    for field in (np.zeros(3), np.full(3, np.nan), np.array([np.inf, 0, 0])):
        assert found.step(field, AXES, np.zeros(3)) == 0.0
    _, errors = follow(found, 10, 0.4, 0.0)
    assert np.abs(errors[round(2 / PERIOD_S) :]).max() < 0.5


def test_the_gravity_correction_is_read_from_vqf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nodding sensor with a gyroscope bias of 0.5 deg/s about x: rate and sign of the correction
    of its frame.
    """
    evidence: list[float] = []

    def step(
        _: MagneticHeading,
        field: np.ndarray,
        axes: np.ndarray,
        bias: np.ndarray,
        levelled: np.ndarray,
        rate: np.ndarray,
    ) -> float:
        evidence.append(levelled[0] + bias[0])
        return 0.0

    monkeypatch.setattr(MagneticHeading, "step", step)
    filter_ = OrientationFilter(use_magnetometer=True)
    nod = np.radians(10.0)
    for i in range(4000):
        angle = nod * math.sin(0.06 * i)
        speed = nod * 6.0 * math.cos(0.06 * i)
        force = 9.81 * np.array((0.0, math.sin(angle), math.cos(angle)))
        filter_.update(
            i / 100,
            np.array((speed + math.radians(0.5 if i > 300 else 0.0), 0.0, 0.0)),
            force,
            EARTH,
        )
    assert abs(math.degrees(np.mean(evidence[2:6]))) < 0.1
    assert abs(math.degrees(np.mean(evidence[-10:])) - 0.5) < 0.1
    assert (
        math.degrees(np.mean(evidence[12:18])) > 0.25
    )  # six to nine seconds, three to six after the step


def test_a_magnetometer_may_be_slower_than_the_gyroscope() -> None:
    """A field with every tenth sample only gives the same accuracy, since a period is defined by
    time.
    """
    errors = []
    for every in (1, 10):
        filter_ = OrientationFilter(use_magnetometer=True)
        bias = math.radians(0.5)
        for i in range(6000):
            angle = 0.5 * math.sin(0.02 * i)
            speed = 1.0 * math.cos(0.02 * i)
            field = rotations.rotate(rotations.about_z(-angle), EARTH) if i % every == 0 else None
            q = filter_.update(
                i / 100,
                np.array((0.0, 0.0, speed + (bias if i > 3000 else 0.0))),
                np.array((0.0, 0.0, 9.81)),
                field,
            )
            if i > 3000:
                errors.append((every, abs(math.degrees(rotations.heading(q) - angle))))
    worst = {every: max(e for n, e in errors if n == every) for every in (1, 10)}
    assert worst[10] < worst[1] + 0.5, worst
    assert worst[10] < 3.0, worst


def heading_errors(q: np.ndarray, true: np.ndarray) -> np.ndarray:
    off = np.degrees(np.unwrap(rotations.heading(rotations.multiply(q, rotations.inverse(true)))))
    return np.asarray(off - np.median(off[200:300]))


def test_steps_and_steel_on_a_moving_wearer() -> None:
    """Three minutes, harder than the drift test (`python benchmarks/bench_imu.py drift`), with four
    sensors as in the driver.

    A wrist is turned over all the time, so that gravity reveals its bias, and for three minutes six
    axes are as good as nine. On the trunk, and between trunk and forearm, they are not. VQF's own
    nine-axis mode is far worse.
    """
    rate = 50.0
    motion = swaying(everyday_motion(180.0, 7, fps=30), Faults(), 7)
    faults = Faults(step_every_s=60.0, steel_every_s=20.0)
    tracks = afflicted(
        VirtualSensors(SensorNoise(tilt_error=0, heading_walk=0), 7).tracks(motion, rate), faults, 7
    )
    errors: dict[int, dict[str, np.ndarray]] = {}
    for axes in (6, 9):
        common = CommonField()
        count = min(len(track.time) for track in tracks.values())
        filters = {site: OrientationFilter(axes == 9, rate, common) for site in tracks}
        q = {site: np.empty((count, 4)) for site in tracks}
        for i in range(count):
            for site, track in tracks.items():
                sample = track.angular_velocity[i], track.acceleration[i], track.magnetic_field[i]
                q[site][i] = filters[site].update(float(track.device_time[i]), *sample)
        true = {
            site: rotations.multiply(track.q_world_bone, track.q_bone_sensor)[:count]
            for site, track in tracks.items()
        }
        errors[axes] = {site: heading_errors(q[site], true[site])[300:] for site in tracks}
        errors[axes]["between"] = errors[axes]["neck"] - errors[axes]["left_wrist"]
    track = tracks["left_wrist"]
    whole = VQF(1 / rate).updateBatch(
        *(
            np.ascontiguousarray(a)
            for a in (track.angular_velocity, track.acceleration, track.magnetic_field)
        )
    )
    vqf = heading_errors(
        whole["quat9D"][:, [1, 2, 3, 0]],
        rotations.multiply(track.q_world_bone, track.q_bone_sensor),
    )[300:]
    six, nine = (
        {site: float(np.percentile(np.abs(e), 95)) for site, e in errors[k].items()} for k in (6, 9)
    )
    print(
        f"p95, degrees: six axes {six}, here {nine}, VQF 9D at the wrist"
        f" {np.percentile(np.abs(vqf), 95):.1f}"
    )
    assert six["left_wrist"] < 7.0  # 12 degrees with VQF's own setting for its bias in movement
    assert nine["left_wrist"] < 7.0
    assert nine["left_wrist"] < 0.2 * np.percentile(np.abs(vqf), 95)
    assert nine["pelvis"] < six["pelvis"]
    assert nine["neck"] < 0.8 * six["neck"]
    assert nine["between"] < 0.6 * six["between"]


def test_nine_axes_are_better_than_six_at_a_wrist_in_the_long_run() -> None:
    """Ten minutes of the same, with a single sensor."""
    rate = 50.0
    motion = swaying(everyday_motion(600.0, 7, fps=30), Faults(), 7)
    tracks = VirtualSensors(SensorNoise(tilt_error=0, heading_walk=0), 7).tracks(motion, rate)
    track = afflicted(tracks, Faults(step_every_s=60.0, steel_every_s=20.0), 7)["left_wrist"]
    true = rotations.multiply(track.q_world_bone, track.q_bone_sensor)
    p95 = {}
    for nine in (False, True):
        filter_ = OrientationFilter(nine, rate)
        q = np.empty((len(track.time), 4))
        for i, sample in enumerate(
            zip(
                track.device_time,
                track.angular_velocity,
                track.acceleration,
                track.magnetic_field,
                strict=True,
            )
        ):
            q[i] = filter_.update(float(sample[0]), *sample[1:])
        p95[nine] = float(np.percentile(np.abs(heading_errors(q, true)[300:]), 95))
    print(f"p95, degrees: six axes {p95[False]:.1f}, nine {p95[True]:.1f}")
    assert p95[True] < 0.8 * p95[False]


def test_faults_reach_optional_sensors_and_leave_the_others_as_they_are() -> None:
    motion = everyday_motion(130.0, 7, fps=30)
    faults = Faults(steel_every_s=20.0)
    worn = (*SITES, "left_shin")
    four, five = (
        afflicted(VirtualSensors(seed=7, sites=sites).tracks(motion, 25.0), faults, 7)
        for sites in (SITES, worn)
    )
    assert tuple(five) == worn
    for site in SITES:
        np.testing.assert_array_equal(four[site].magnetic_field, five[site].magnetic_field)
    clean = VirtualSensors(seed=7, sites=worn).tracks(motion, 25.0)["left_shin"]
    assert np.abs(five["left_shin"].magnetic_field - clean.magnetic_field).max() > 0.05
