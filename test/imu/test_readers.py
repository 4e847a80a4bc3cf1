"""Ports, readers and the driver, on real pseudo-terminals."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.imu import driver as imu_driver
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.known_pose import TPoseCalibrator
from pallas_ros.imu.ports import SIMULATED, ShakeAssigner, resolve
from pallas_ros.imu.protocols import PROTOCOLS, Reading
from pallas_ros.imu.reader import SerialReader
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.simulator import PseudoPort, SensorSimulator
from pallas_ros.imu.synchroniser import Synchroniser


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_through_a_pseudo_terminal(
    name: str, simulated: Callable[..., SensorSimulator], wait: Callable[..., None]
) -> None:
    simulator = simulated(name)
    got: dict[str, list[ImuSample]] = defaultdict(list)
    driver = ImuDriver(
        list(simulator.ports.values()), [name], lambda site, sample: got[site].append(sample)
    )
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
            assert (
                np.degrees(rotations.angle_between(sample.orientation, track.orientation[i])) < 0.1
            )
            np.testing.assert_allclose(sample.acceleration, track.acceleration[i], atol=0.02)
        stats = next(s for s in driver.stats() if s.site == site) if driver.stats() else None
        assert stats is None or stats.checksum_errors == 0


def test_a_reader_comes_back_and_the_others_go_on(
    simulated: Callable[..., SensorSimulator], tmp_path: Path, wait: Callable[..., None]
) -> None:
    simulator = simulated(links={site: tmp_path / site for site in SITES})
    got: dict[str, list[ImuSample]] = defaultdict(list)
    driver = ImuDriver(
        list(simulator.ports.values()), ["witmotion"], lambda site, sample: got[site].append(sample)
    )
    driver.start()
    try:
        wait(lambda: all(len(got[site]) >= 10 for site in SITES))
        simulator.unplug("neck")
        wait(lambda: any(p.startswith("neck: ") and "plugged" in p for p in driver.problems()))
        seen = len(got["neck"])
        others = len(got["pelvis"])
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


def test_the_heading_continues_after_reconnection(
    simulated: Callable[..., SensorSimulator], tmp_path: Path, wait: Callable[..., None]
) -> None:
    """Without a magnetometer a filter starts at an arbitrary heading, which would invalidate the
    calibration. The learned bias is kept as well.
    """
    simulator = simulated("csv", links={site: tmp_path / site for site in SITES})
    got: dict[str, list[ImuSample]] = defaultdict(list)
    biases = {site: np.array([0.01, -0.02, 0.015]) for site in SITES}
    driver = ImuDriver(
        list(simulator.ports.values()),
        ["csv"],
        lambda site, sample: got[site].append(sample),
        orientation="6d",
        gyroscope_bias=biases,
    )
    driver.start()
    try:
        wait(lambda: all(len(got[site]) >= 3 for site in SITES))
        assert driver.stats()[0].gyroscope_bias == pytest.approx(biases["pelvis"], abs=2e-3)
        wait(lambda: len(got["neck"]) >= 120)
        simulator.unplug("neck")
        wait(lambda: any(p.startswith("neck: ") and "plugged" in p for p in driver.problems()))
        seen = len(got["neck"])
        simulator.plug("neck")
        wait(lambda: len(got["neck"]) > seen + 60)
    finally:
        driver.stop()
    before = got["neck"][seen - 1].orientation
    after = got["neck"][seen].orientation
    assert before is not None
    assert after is not None
    turned = rotations.multiply(after, rotations.inverse(before))
    assert abs(np.degrees(2 * np.arctan2(turned[2], turned[3]))) < 1e-6
    later = np.array([sample.orientation for sample in got["neck"][seen:]])
    assert np.degrees(rotations.angle_between(later[:-1], later[1:])).max() < 10.0


@pytest.mark.timing
def test_a_pulled_cable_costs_only_its_site(
    simulated: Callable[..., SensorSimulator], tmp_path: Path, wait: Callable[..., None]
) -> None:
    """The whole chain of threads, bytes, clocks, calibration and synchroniser: frames continue at
    60 Hz without the site, and later with it.
    """
    simulator = simulated(links={site: tmp_path / site for site in SITES})
    calibrator = TPoseCalibrator()
    synchroniser = Synchroniser()
    lock = threading.Lock()
    calibration: list[Calibration] = []
    got: list[ImuFrame] = []
    newest: dict[str, int] = {}

    def take(site: str, sample: ImuSample) -> None:
        with lock:
            newest[site] = sample.stamp
            if not calibration:
                found = calibrator.push(site, sample)
                calibration.extend([found] if found else [])
            else:
                got.extend(
                    synchroniser.push(site, sample.stamp, *calibration[0].apply(site, sample))
                )

    driver = ImuDriver(list(simulator.ports.values()), ["witmotion"], take)
    driver.start()
    try:
        wait(lambda: len(got) > 30)
        simulator.unplug("right_wrist")
        begun = time.time_ns()
        wait(lambda: got[-1].stamp > begun + 10**9)
        # its last stamp: on a busy machine stamps are late by the smallest delay of any sample
        pulled = newest["right_wrist"]
        plugged = time.time_ns()  # before, since this thread may have to wait for a processor
        simulator.plug("right_wrist")
        i = SITES.index("right_wrist")
        wait(lambda: got[-1].stamp > plugged + 2 * 10**8 and bool(got[-1].valid[i]))
        count = len(got)
        wait(lambda: len(got) > count + 20)
    finally:
        driver.stop()
    stamps = np.array([frame.stamp for frame in got])
    assert np.diff(stamps).max() < 17 * 10**6
    others = [k for k in range(4) if k != i]
    # a sample just after `plugged` also counts for the frame before it
    silent = [frame for frame in got if pulled + 3 * 10**8 < frame.stamp < plugged - 5 * 10**7]
    assert len(silent) > 30
    assert not any(frame.valid[i] for frame in silent)
    assert (
        np.mean([frame.valid[others].all() for frame in got]) > 0.8
    )  # all of them, were the machine not shared


def test_a_port_with_another_protocol_is_reported(
    simulated: Callable[..., SensorSimulator], wait: Callable[..., None]
) -> None:
    simulator = simulated("csv")
    driver = ImuDriver(list(simulator.ports.values()), ["xsens"], lambda site, sample: None)
    driver.start()
    try:
        wait(lambda: any("sends data, but not xsens" in p for p in driver.problems()))
    finally:
        driver.stop()


def test_a_reader_survives_whoever_takes_its_samples(
    simulated: Callable[..., SensorSimulator], wait: Callable[..., None]
) -> None:
    simulator = simulated()
    taken = []

    def take(site: str, sample: ImuSample) -> None:
        taken.append(site)
        raise ValueError("no")

    driver = ImuDriver(list(simulator.ports.values()), ["witmotion"], take)
    driver.start()
    try:
        wait(lambda: all(taken.count(site) > 10 for site in SITES))
        assert any("a sample was not processed: ValueError: no" in p for p in driver.problems())
    finally:
        driver.stop()


def test_silent_sensors_are_left_all_at_once(
    tmp_path: Path, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader waits up to 0.25 s for its sensor; in sequence they took a second."""
    ports = [PseudoPort(tmp_path / site) for site in SITES]
    driver = ImuDriver([port.path for port in ports], ["witmotion"], lambda site, sample: None)
    driver.start()
    readers = list(driver.readers)
    requested: list[bool] = []
    stop = SerialReader.stop

    def stopped(self: SerialReader) -> None:
        requested.append(all(reader.stop_requested for reader in readers))
        stop(self)

    monkeypatch.setattr(SerialReader, "stop", stopped)
    try:
        wait(lambda: all(reader.stats().connections for reader in readers))
    finally:
        driver.stop()
        for port in ports:
            port.close()
    assert requested == [True] * len(SITES)


def test_a_cable_may_be_pulled_while_bytes_flow(tmp_path: Path) -> None:
    port = PseudoPort(tmp_path / "port")
    stop = threading.Event()
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


def test_a_sensor_whose_heading_begins_at_zero_with_power_keeps_the_calibrated_one(
    tmp_path: Path, wait: Callable[..., None]
) -> None:
    port = PseudoPort(tmp_path / "port")
    spec = PROTOCOLS["bno08x_rvc"]
    got = []
    said = threading.Event()
    faces = [0.9]  # where the wearer faces, rad, as the sensor counts it

    def write() -> None:
        encoder = spec.encoder()
        while not said.is_set():
            q = rotations.multiply(
                rotations.about_z(faces[0]), rotations.from_rotvec(np.array([0.2, 0.0, 0.0]))
            )
            port.write(
                encoder.encode(Reading(0.0, (0.0, 0.0, GRAVITY), orientation=tuple(q.tolist())))
            )
            time.sleep(0.01)

    thread = threading.Thread(target=write)
    reader = SerialReader(
        str(tmp_path / "port"), spec, "neck", lambda _, sample: got.append(sample.orientation)
    ).start()
    thread.start()
    try:
        wait(lambda: len(got) > 10)
        port.unplug()
        wait(lambda: not reader.stats().connected)
        seen = len(got)
        faces[0] = 0.0
        port.plug()
        wait(lambda: len(got) > seen + 10)
        np.testing.assert_allclose(rotations.heading(np.array(got)), 0.9, atol=2e-3)
        faces[0] = 0.5
        wait(lambda: abs(float(rotations.heading(got[-1])) - 1.4) < 2e-3)
    finally:
        said.set()
        thread.join()
        reader.stop()
        port.close()


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
    with pytest.raises(PallasError, match=r"the port of pelvis: .* is not plugged in"):
        driver([str(tmp_path / s) for s in SITES], ["csv"]).check()
    simulated = [f"{SIMULATED}/no_{site}" for site in SITES]
    with pytest.raises(PallasError, match=r"the port of pelvis: .* no simulator has created it"):
        driver(simulated, ["csv"]).check()
    made = PseudoPort(tmp_path / "made")
    made.close()
    with pytest.raises(PallasError, match=r"start one \('pallas up'"):
        driver([str(tmp_path / "made"), *simulated[1:]], ["csv"]).check()
    (tmp_path / "file").write_text("")
    with pytest.raises(PallasError, match="is not a link"):
        PseudoPort(tmp_path / "file")


def test_a_killed_simulator_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "pelvis").symlink_to("/dev/pts/987654")
    port = PseudoPort(tmp_path / "pelvis")
    with pytest.raises(PallasError, match="belongs to a running simulator"):
        PseudoPort(tmp_path / "pelvis")
    assert resolve(str(tmp_path / "pelvis")) == str(tmp_path / "pelvis")
    port.close()
    PseudoPort(tmp_path / "pelvis").close()
    (tmp_path / "pelvis").symlink_to(
        "/dev/null"
    )  # the terminal of the killed one is somebody else's now
    assert resolve(str(tmp_path / "pelvis")) is None


def test_shaking_identifies_the_ports() -> None:
    rng = np.random.default_rng(0)
    ports = ["c", "a", "d", "b", "spare"]
    assigner = ShakeAssigner(ports)
    order = dict(zip(SITES, ("a", "b", "c", "d"), strict=True))
    stamp = 10**9
    asked = []
    while assigner.asked is not None and stamp < 60 * 10**9:
        # three seconds of shaking, three of rest
        shaken = order[assigner.asked] if stamp // (3 * 10**9) % 2 else None
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


def test_ports_that_were_not_assigned_are_released(
    monkeypatch: pytest.MonkeyPatch, simulated: Callable[..., SensorSimulator],
    wait: Callable[..., None],
) -> None:  # fmt: skip
    """Another USB adapter, such as that of a gripper, is not a faulty sensor."""
    master, spare = os.openpty()
    found = [*simulated().ports.values(), os.ttyname(spare)]
    monkeypatch.setattr(imu_driver.serial_ports, "candidates", lambda: found)
    driver = ImuDriver(["auto"], ["witmotion"], lambda site, sample: None)
    driver.start()
    try:
        assert driver._assigner is not None
        driver._assigner.assigned |= dict(zip(SITES, found[:4], strict=True))
        wait(lambda: driver.sensors().keys() == set(SITES))
        wait(lambda: not driver.problems())
        assert [stats.site for stats in driver.stats()] == list(SITES)
    finally:
        driver.stop()
        os.close(master)
        os.close(spare)
    with pytest.raises(PallasError, match="with 'auto' it is not known which protocol"):
        ImuDriver(["auto"], ["witmotion", "csv", "csv", "csv"], lambda site, sample: None)


def test_a_counter_that_restarts_with_the_power_is_no_loss(
    tmp_path: Path, wait: Callable[..., None]
) -> None:
    link = tmp_path / "pelvis"
    got: list[ImuSample] = []
    reader = SerialReader(
        str(link), PROTOCOLS["xsens"], "pelvis", lambda _, sample: got.append(sample)
    )
    for connection in (1, 2):
        port = PseudoPort(link)
        encoder = PROTOCOLS["xsens"].encoder()
        if connection == 1:
            reader.start()
        until = len(got) + 50
        while len(got) < until:
            for _ in range(10):
                port.write(encoder.encode(Reading(acceleration=(0.0, 0.0, GRAVITY))))
            time.sleep(0.02)
        port.close()
        wait(lambda: not reader.stats().connected)
    try:
        assert reader.stats().connections >= 2
        assert reader.stats().lost == 0
    finally:
        reader.stop()
