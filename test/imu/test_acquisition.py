"""Ports, readers, clocks, orientation, virtual sensors and recordings, on real pseudo-terminals where there are bytes."""

import importlib.util
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import JOINT_INDEX, SITES
from pallas_ros.imu import playback
from pallas_ros.imu.calibration import Calibration, TPoseCalibrator
from pallas_ros.imu.clock import ClockMapper, CountingClock
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.motions import calibration_motion, demo_motion, everyday_motion
from pallas_ros.imu.orientation import OrientationFilter
from pallas_ros.imu.ports import ShakeAssigner, resolve
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.simulator import PseudoPort, SensorSimulator
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors, bone_orientation


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The measuring code of benchmarks/bench_imu.py, run here in small."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_imu.py"
    spec = importlib.util.spec_from_file_location("bench_imu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


# Hostile bytes and clocks


@pytest.mark.parametrize("name", PROTOCOLS)
def test_hostile_bytes(bench: ModuleType, name: str) -> None:
    """Random, truncated, bit-flipped, interleaved bytes: no exception, no growing memory, what is valid comes out."""
    row = bench.fuzz(name, 60_000, seed=5)
    assert row["valid sent"] > 300
    assert row["valid lost"] == 0
    assert row["bytes kept"] < 1100


@pytest.mark.parametrize(("rate", "ppm"), [(60, 50), (100, 50), (100, -50), (400, 50)])
def test_stamps_through_usb_bursts(bench: ModuleType, rate: float, ppm: float) -> None:
    """Issue 3: with 16 ms bursts and 50 ppm of drift stamps are right to 2 ms at the 99th percentile."""
    row = bench.stamps(rate, 0.016, ppm, seconds=60.0)
    assert row["p99 ms"] < 2.0
    assert row["arrival p99 ms"] > 15.0  # the disturbance was there


def test_a_device_clock_that_jumps_begins_a_new_map() -> None:
    mapper, start = ClockMapper(), 10**18
    for i in range(300):
        device = i * 0.01 + (0.0 if i < 150 else -1.2)
        stamp = mapper.map(device, start + i * 10**7)
        assert abs(stamp - (start + i * 10**7)) < 2_000_000 or 150 <= i < 155
    assert mapper.restarts == 1


def test_stamps_of_a_sensor_without_a_clock_run_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    mapper, counting = CountingClock.mapper(), CountingClock()
    true = np.arange(2000) * 0.01
    arrival = 10**18 + np.round((true + rng.exponential(0.0015, 2000)) * 1e9).astype(np.int64)
    stamps = [mapper.map(counting.tick(int(a)), int(a)) for a in np.maximum.accumulate(arrival)]
    error = np.abs((np.array(stamps, dtype=np.int64) - 10**18) / 1e9 - true)[200:]
    assert np.percentile(error, 99) < 0.006
    assert np.all(np.diff(stamps) > 0)


# Ports and readers


@pytest.fixture
def simulated() -> Iterator[Callable[..., SensorSimulator]]:
    running: list[SensorSimulator] = []

    def make(protocol: str = "witmotion", **options: Any) -> SensorSimulator:
        running.append(SensorSimulator(demo_motion(6.0), PROTOCOLS[protocol], SensorNoise.none(), **options))
        return running[-1].start()

    yield make
    for simulator in running:
        simulator.stop()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_through_a_pseudo_terminal(name: str, simulated: Callable[..., SensorSimulator]) -> None:
    simulator = simulated(name)
    got: dict[str, list[ImuSample]] = defaultdict(list)
    driver = ImuDriver(list(simulator.ports.values()), [name], lambda site, sample: got[site].append(sample))
    driver.check()
    driver.start()
    try:
        wait(lambda: all(len(got[site]) >= 60 for site in SITES))
    finally:
        driver.stop()
    for site in SITES:
        track = simulator.tracks[site]
        for sample in got[site][30:60]:
            i = int(np.argmin(np.abs(track.time - simulator.motion_time(sample.stamp))))
            assert sample.orientation is not None
            assert np.degrees(rotations.angle_between(sample.orientation, track.orientation[i])) < 0.1
            np.testing.assert_allclose(sample.acceleration, track.acceleration[i], atol=0.02)
        stats = next(s for s in driver.stats() if s.site == site) if driver.stats() else None
        assert stats is None or stats.checksum_errors == 0


def test_a_reader_comes_back_and_the_others_go_on(simulated: Callable[..., SensorSimulator], tmp_path: Path) -> None:
    simulator = simulated(links={site: tmp_path / site for site in SITES})
    got: dict[str, list[ImuSample]] = defaultdict(list)
    driver = ImuDriver(list(simulator.ports.values()), ["witmotion"], lambda site, sample: got[site].append(sample))
    driver.start()
    try:
        wait(lambda: all(len(got[site]) >= 10 for site in SITES))
        simulator.unplug("neck")
        wait(lambda: any(p.startswith("neck: ") and "plugged" in p for p in driver.problems()))
        seen, others = len(got["neck"]), len(got["pelvis"])
        wait(lambda: len(got["pelvis"]) > others + 50)
        assert len(got["neck"]) <= seen + 2
        simulator.plug("neck")
        wait(lambda: len(got["neck"]) > seen + 10)
        wait(lambda: not driver.problems())
        stamps = [sample.stamp for sample in got["neck"]]
        assert np.all(np.diff(stamps) > 0)
        assert next(s for s in driver.stats() if s.site == "neck").connections == 2
    finally:
        driver.stop()


@pytest.mark.timing
def test_a_pulled_cable_costs_only_its_site(simulated: Callable[..., SensorSimulator], tmp_path: Path) -> None:
    """The whole chain of threads, bytes, clocks, calibration and synchroniser: frames go on at 60 Hz without the site, and then with it."""
    simulator = simulated(links={site: tmp_path / site for site in SITES})
    calibrator, synchroniser, lock = TPoseCalibrator(), Synchroniser(), threading.Lock()
    calibration: list[Calibration] = []
    got: list[ImuFrame] = []

    def take(site: str, sample: ImuSample) -> None:
        with lock:
            if not calibration:
                found = calibrator.push(site, sample)
                calibration.extend([found] if found else [])
            else:
                got.extend(synchroniser.push(site, sample.stamp, *calibration[0].apply(site, sample)))

    driver = ImuDriver(list(simulator.ports.values()), ["witmotion"], take)
    driver.start()
    try:
        wait(lambda: len(got) > 30)
        simulator.unplug("right_wrist")
        pulled = time.time_ns()
        wait(lambda: got[-1].stamp > pulled + 10**9)
        simulator.plug("right_wrist")
        plugged = time.time_ns()
        i = SITES.index("right_wrist")
        wait(lambda: got[-1].stamp > plugged + 2 * 10**8 and bool(got[-1].valid[i]))
        count = len(got)
        wait(lambda: len(got) > count + 20)
    finally:
        driver.stop()
    stamps = np.array([frame.stamp for frame in got])
    assert np.diff(stamps).max() < 17 * 10**6
    others = [k for k in range(4) if k != i]
    silent = [frame for frame in got if pulled + 3 * 10**8 < frame.stamp < plugged]
    assert len(silent) > 30
    assert not any(frame.valid[i] for frame in silent)
    assert np.mean([frame.valid[others].all() for frame in got]) > 0.8  # all of them, were the machine not shared


def test_a_port_that_speaks_something_else_is_said(simulated: Callable[..., SensorSimulator]) -> None:
    simulator = simulated("csv")
    driver = ImuDriver(list(simulator.ports.values()), ["xsens"], lambda site, sample: None)
    driver.start()
    try:
        wait(lambda: any("speaks, but not xsens" in p for p in driver.problems()))
    finally:
        driver.stop()


def test_a_reader_survives_whoever_takes_its_samples(simulated: Callable[..., SensorSimulator]) -> None:
    simulator, taken = simulated(), []

    def take(site: str, sample: ImuSample) -> None:
        taken.append(site)
        raise ValueError("no")

    driver = ImuDriver(list(simulator.ports.values()), ["witmotion"], take)
    driver.start()
    try:
        wait(lambda: all(taken.count(site) > 10 for site in SITES))
        assert any("a sample was not taken: ValueError: no" in p for p in driver.problems())
    finally:
        driver.stop()


def test_a_cable_may_be_pulled_while_bytes_flow(tmp_path: Path) -> None:
    port, stop = PseudoPort(tmp_path / "port"), threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                port.write(b"x" * 50)
                time.sleep(0)  # let the other thread have the lock
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(60):
        port.unplug()
        port.plug()
    stop.set()
    thread.join()
    port.close()
    assert not failed


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    def driver(ports: list[str], protocols: list[str]) -> ImuDriver:
        return ImuDriver(ports, protocols, lambda site, sample: None)

    for ports, protocols, words in (
        (["a", "b"], ["csv"], "2 ports are given"),
        (["a", "b", "c", "a"], ["csv"], "two sites have the same port"),
        (["a", "b", "c", "d"], ["csv", "xsens"], "2 protocols are given"),
        (["a", "b", "c", "d"], ["morse"], "unknown sensor protocol 'morse'"),
    ):
        with pytest.raises(PallasError, match=words):
            driver(ports, protocols)
    with pytest.raises(PallasError, match=r"the port of pelvis, .* is not there"):
        driver([str(tmp_path / s) for s in SITES], ["csv"]).check()
    (tmp_path / "file").write_text("")
    with pytest.raises(PallasError, match="is not a link"):
        PseudoPort(tmp_path / "file")


def test_a_killed_simulator_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "pelvis").symlink_to("/dev/pts/987654")
    port = PseudoPort(tmp_path / "pelvis")
    with pytest.raises(PallasError, match="belongs to a simulator that is running"):
        PseudoPort(tmp_path / "pelvis")
    assert resolve(str(tmp_path / "pelvis")) == str(tmp_path / "pelvis")
    port.close()
    PseudoPort(tmp_path / "pelvis").close()
    (tmp_path / "pelvis").symlink_to("/dev/null")  # the terminal of the killed one is somebody else's now
    assert resolve(str(tmp_path / "pelvis")) is None


def test_shaking_tells_the_ports_apart() -> None:
    rng = np.random.default_rng(0)
    ports = ["c", "a", "d", "b", "spare"]
    assigner, order = ShakeAssigner(ports), dict(zip(SITES, ("a", "b", "c", "d"), strict=True))
    stamp = 10**9
    asked = []
    while assigner.asked is not None and stamp < 60 * 10**9:
        shaken = order[assigner.asked] if stamp // (3 * 10**9) % 2 else None  # three seconds of shaking, three of rest
        if not asked or asked[-1] != assigner.asked:
            asked.append(assigner.asked)
        for port in ports:
            a = np.array([0, 0, GRAVITY]) + rng.normal(0, 8.0 if port == shaken else 0.05, 3)
            assigner.push(port, ImuSample(stamp, None, a))
        stamp += 2 * 10**7
    assert assigner.assigned == order
    assert asked == list(SITES)
    with pytest.raises(PallasError, match="2 sensor ports found, 4 needed"):
        ShakeAssigner(["a", "b"])


# Orientation and heading


@pytest.mark.parametrize("nine", [False, True])
def test_vqf_follows_the_truth(nine: bool) -> None:
    motion = everyday_motion(20.0, seed=1)
    track = VirtualSensors(SensorNoise.none().with_(gyroscope_density=2e-4), 1).tracks(motion)["left_wrist"]
    vqf = OrientationFilter(use_magnetometer=nine)
    q = np.array(
        [
            vqf.update(float(t), rate, acceleration, field)
            for t, rate, acceleration, field in zip(
                track.device_time, track.angular_velocity, track.acceleration, track.magnetic_field, strict=True
            )
        ]
    )
    error = rotations.multiply(q, rotations.inverse(track.orientation))
    tilt = np.degrees(np.linalg.norm(rotations.to_rotvec(error) * [1, 1, 0], axis=1)) if not nine else None
    heading = np.degrees(np.unwrap(rotations.heading(error)))[200:]
    assert np.abs(heading - heading[0]).max() < 3.0
    if tilt is not None:
        aligned = rotations.multiply(rotations.about_z(-rotations.heading(error)), error)
        assert np.degrees(np.linalg.norm(rotations.to_rotvec(aligned), axis=1))[200:].max() < 3.0


def frames(motion: Any, drift: dict[str, float], every: int) -> Iterator[tuple[ImuFrame, float]]:
    """Frames of true bones whose headings drift at the given rates (rad/s), with the time in s."""
    bones = {site: bone_orientation(motion, site) for site in SITES}
    for i in range(0, len(motion), every):
        t = i / motion.fps
        q = np.array([rotations.multiply(rotations.about_z(drift.get(site, 0.0) * t), bones[site][i]) for site in SITES])
        yield ImuFrame(10**9 + round(t * 1e9), q, np.ones((4, 3)), np.ones(4, bool), np.zeros(4), np.zeros(4), 0), t


def test_heading_drift_is_found_and_taken_out() -> None:
    motion = everyday_motion(240.0, seed=2, fps=10)
    corrector = HeadingDrift(DriftModel.of(10.0))
    rates = {"neck": np.radians(10 / 60), "left_wrist": np.radians(-12 / 60)}
    left = {site: [] for site in SITES}  # type: ignore[var-annotated]
    for frame, t in frames(motion, rates, 2):
        fixed = corrector.correct(frame)
        assert rotations.normalise(fixed.orientation) == pytest.approx(fixed.orientation, abs=1e-9)
        for i, site in enumerate(SITES):
            left[site].append(np.degrees(rates.get(site, 0.0) * t + fixed.heading_drift[i]))
    assert abs(np.degrees(corrector.drift["left_wrist"]) + 48) < 15  # of 48 degrees
    for site in SITES:
        assert np.percentile(np.abs(left[site]), 90) < 15
    assert corrector.remarks()


def test_heading_of_sensors_that_do_not_drift_is_left_alone() -> None:
    corrector = HeadingDrift()
    for frame, _ in frames(demo_motion(90.0, fps=15), {}, 1):
        corrections = corrector.correct(frame).heading_drift
        assert np.degrees(np.abs(corrections)).max() < 3.0
    assert not corrector.remarks()


# Virtual sensors, motions, recordings


def test_virtual_sensors_are_rigid_bodies() -> None:
    """Gyroscope and orientation, accelerometer and lever arm agree: integrated they give each other back."""
    motion = demo_motion(12.0)
    for site, track in VirtualSensors(SensorNoise.none().with_(mounting_error=0.2), 3).tracks(motion, 200.0).items():
        step = np.diff(track.time)[:, None]
        turns = rotations.from_rotvec(0.5 * (track.angular_velocity[1:] + track.angular_velocity[:-1]) * step)
        predicted = rotations.multiply(track.orientation[:-1], turns)
        assert np.degrees(rotations.angle_between(predicted, track.orientation[1:])).max() < 0.01, site
        world = rotations.rotate(track.orientation, track.acceleration) - [0, 0, GRAVITY]
        assert np.linalg.norm(np.sum(world[:-1] * step, axis=0)) < 0.5, site  # begins at rest, ends slow


def test_motions_are_smooth_and_plausible() -> None:
    for motion in (demo_motion(70.0), everyday_motion(60.0, seed=4), calibration_motion()):
        jerk = np.diff(motion.positions, 3, axis=0) * motion.fps**3
        assert np.abs(jerk).max() < 400
        feet = motion.positions[:, [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]], 2].min(axis=1)
        assert feet.min() > 0.03
        assert feet.max() < 0.12
    demo = demo_motion(70.0)
    assert np.abs(np.diff(demo.positions[: int(2.9 * 60)], axis=0)).max() < 1e-9  # still, for the calibration
    np.testing.assert_allclose(demo_motion(20.0).positions, demo.positions[:1201], atol=0.05)


def test_a_calibrated_recording_plays_as_raw_sensors(shared_data: Path) -> None:
    recording = load_recording(shared_data / "real_imu_60hz.npz")
    assert recording.calibrated
    raw = recording.raw()
    world = rotations.rotate(raw.orientation, raw.acceleration) - [0, 0, GRAVITY]
    np.testing.assert_allclose(world, recording.acceleration, atol=1e-5)
    lead = recording.with_lead_in()
    assert len(lead.stamp) == len(recording.stamp) + 270
    assert np.allclose(lead.orientation[:170], rotations.IDENTITY)
    tracks = playback.source(str(shared_data / "real_imu_60hz.npz"), 10.0, 1.75)
    assert set(tracks) == set(SITES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": None}, "no 'sites' in it"),
        ({"sites": np.array(["pelvis", "head", "left_wrist", "tail"])}, "no sensor for right_wrist"),
        ({"orientation": np.zeros((5, 4, 3))}, "'orientation' has shape"),
        ({"stamp": np.array([0, 1, 2, 3, np.nan])}, "stamps that are no numbers"),
    ],
)
def test_what_is_no_recording_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "sites": np.array(["pelvis", "head", "left_wrist", "right_wrist"]),
        "stamp": np.arange(5.0),
        "orientation": np.tile([0.0, 0, 0, 1], (5, 4, 1)),
        "linear_acceleration": np.zeros((5, 4, 3)),
    }
    arrays = {key: value for key, value in {**arrays, **change}.items() if value is not None}
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(PallasError, match=words):
        load_recording(tmp_path / "r.npz")


def test_truth_lies_on_the_grid_and_goes_forth_and_back(simulated: Callable[..., SensorSimulator]) -> None:
    simulator = simulated()
    wait(lambda: simulator.started_at is not None)
    assert simulator.started_at is not None
    truth = playback.Truth(simulator)
    bodies = list(truth.until(simulator.started_at + 13 * 10**9))  # six seconds forth, six back, one forth
    assert len(bodies) in (780, 781)
    assert all(round(round(b.stamp * 60 / 1e9) * 1e9 / 60) == b.stamp for b in bodies)
    assert max(np.abs(np.diff([b.positions[20] for b in bodies], axis=0)).max(), 0) < 0.06  # no leap where it turns
    assert not list(truth.until(simulator.started_at + 13 * 10**9))
