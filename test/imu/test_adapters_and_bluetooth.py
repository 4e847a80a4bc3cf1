"""WitMotion Bluetooth frames, ports with another baud rate, and USB adapters that cannot be
distinguished.
"""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pallas_ros import cli
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.imu import ports, reader
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.protocols import PROTOCOLS, Reading
from pallas_ros.imu.protocols.witmotion import WitMotionDecoder, WitMotionEncoder
from pallas_ros.imu.reader import SerialReader
from pallas_ros.imu.sample import GRAVITY

WITMOTION = PROTOCOLS["witmotion"]


def ble(*values: int) -> bytes:
    return b"\x55\x61" + struct.pack("<9h", *values)


def frames(count: int) -> bytes:
    return b"".join(ble(k, 0, 2048, 100, 0, 0, 0, 4096, 8192) for k in range(count))


@pytest.mark.parametrize("piece", [1, 7, 20, 33, 1000])
def test_bluetooth_frames_are_decoded_from_any_pieces(piece: int) -> None:
    decoder = WitMotionDecoder()
    data = frames(30)
    readings = [r for at in range(0, len(data), piece) for r in decoder.feed(data[at : at + piece])]
    assert len(readings) == 30
    first = readings[0]
    assert first.acceleration == pytest.approx((0, 0, GRAVITY))
    assert first.angular_velocity == pytest.approx((np.radians(2000) * 100 / 32768, 0, 0))
    # roll 0, pitch 22.5, yaw 45 degrees, turned about z, then y
    assert first.orientation == pytest.approx((-0.0747, 0.1802, 0.3753, 0.9061), abs=2e-3)
    assert not decoder.stats.checksum_errors


def test_bluetooth_frames_after_garbage_and_register_answers() -> None:
    decoder = WitMotionDecoder()
    answer = b"\x55\x71\x3a\x00" + bytes(16)
    readings = decoder.feed(b"\x00\x55\x61\x01\x55" + frames(5) + answer + frames(5))
    assert len(readings) == 10


def test_random_bytes_make_no_bluetooth_frame() -> None:
    rng = np.random.default_rng(1)
    decoder = WitMotionDecoder()
    data = rng.integers(0, 256, 400_000, dtype=np.uint8).tobytes()
    readings = [r for at in range(0, len(data), 64) for r in decoder.feed(data[at : at + 64])]
    assert sum(reading.orientation is not None for reading in readings) <= 1


def test_cabled_frames_that_hold_the_bluetooth_header_are_kept() -> None:
    encoder = WitMotionEncoder()
    decoder = WitMotionDecoder()
    # acceleration of 0x6155 units: the header of a Bluetooth frame inside a cabled one
    odd = 0x6155 * 16 * GRAVITY / 32768
    data = b"".join(
        encoder.encode(Reading(k / 100, (odd, odd, odd), (0.1, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
        for k in range(50)
    )
    readings = decoder.feed(data[3:])
    assert len(readings) >= 48


def test_other_speeds_are_tried_where_nothing_is_understood(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    monkeypatch.setattr(reader, "_SILENT_S", 0.15)
    master, slave = os.openpty()
    seen: list[str] = []
    at = SerialReader(os.ttyname(slave), WITMOTION, "neck", lambda site, sample: None).start()
    try:

        def spoken() -> bool:
            os.write(master, b"\x00\x80\xf8" * 20)
            time.sleep(0.01)
            seen.append(at.stats().problem)
            return "at 9600 baud: trying 230400" in seen[-1]

        wait(spoken)
    finally:
        at.stop()
        os.close(master)
        os.close(slave)
    assert any("at 115200 baud: trying 9600" in problem for problem in seen)


def test_a_speed_that_is_given_is_kept(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    monkeypatch.setattr(reader, "_SILENT_S", 0.15)
    master, slave = os.openpty()
    at = SerialReader(
        os.ttyname(slave), WITMOTION, "neck", lambda site, sample: None, baud_rate=9600
    ).start()
    try:

        def spoken() -> bool:
            os.write(master, b"\x00\x80\xf8" * 20)
            time.sleep(0.01)
            return "set the protocol and the baud rate" in at.stats().problem

        wait(spoken)
        assert "at 9600 baud" in at.stats().problem
    finally:
        at.stop()
        os.close(master)
        os.close(slave)


def test_calibrate_takes_a_speed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["calibrate", str(tmp_path / "c.yaml"), "--baud", "12", "--ports", "a", "b", "c", "d"]
    assert cli.main(words) == 2
    assert "--baud 12: give 300 to 4000000" in capsys.readouterr().err


# USB adapters


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Plug in adapters with the given serial numbers; return their paths."""

    def plug(*numbers: str | None) -> list[str]:
        paths = [tmp_path / f"ttyUSB{k}" for k in range(len(numbers))]
        for path in paths:
            path.touch()
        found = [
            SimpleNamespace(device=str(path), serial_number=number, vid=1)
            for path, number in zip(paths, numbers)
        ]
        monkeypatch.setattr(ports.list_ports, "comports", lambda: found)
        return [str(path) for path in paths]

    return plug


def test_a_number_of_two_adapters_names_neither(plugged: Callable[..., list[str]]) -> None:
    paths = plugged("A1", "0007", "0007", "0001")
    assert ports.identity(paths[0]) == "usb:A1"
    assert ports.identity(paths[1]) == paths[1]
    assert ports.identity(paths[3]) == paths[3]  # what makers give to every adapter
    assert ports.resolve("usb:A1") == paths[0]
    assert ports.resolve("usb:0007") is None
    assert "names 2 adapters with the same serial number" in ports.why_missing("usb:0007")
    assert ports.why_missing("usb:B") == "usb:B is not plugged in"


def test_the_driver_names_adapters_it_cannot_distinguish(
    plugged: Callable[..., list[str]],
) -> None:
    paths = plugged("7", "7", "A2", "A3")
    driver = ImuDriver(["usb:7", *paths[1:]], ["witmotion"], lambda site, sample: None)
    with pytest.raises(PallasError, match="the port of pelvis: usb:7 names 2 adapters"):
        driver.check()
    driver = ImuDriver(paths, ["witmotion"], lambda site, sample: None)
    assert driver.identities() == dict(zip(SITES, [paths[0], paths[1], "usb:A2", "usb:A3"]))
    driver.start()
    try:
        (notice,) = driver.notices()
        assert notice.startswith("the adapters of pelvis, neck have the same serial number")
        assert notice in driver.problems()
    finally:
        driver.stop()


def test_two_names_of_one_port_are_noticed(
    plugged: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = plugged("A0", "A1", "A2", "A3")
    monkeypatch.setattr(
        "pallas_ros.imu.driver.serial.Serial", lambda *a, **k: SimpleNamespace(close=lambda: None)
    )
    (tmp_path / "link").symlink_to(paths[0])
    driver = ImuDriver(
        [paths[0], str(tmp_path / "link"), *paths[2:]], ["witmotion"], lambda site, sample: None
    )
    with pytest.raises(PallasError, match="pelvis and neck have the same port"):
        driver.check()


def test_a_calibration_made_with_equal_numbers_does_not_pass_for_checked() -> None:
    calibration = Calibration.identity()
    for site in SITES:
        calibration.sites[site].sensor = "usb:0001" if site != "neck" else "usb:A1"
    calibration.check_sensors(dict.fromkeys(SITES, "usb:0001") | {"neck": "usb:A1"})
    with pytest.raises(PallasError, match="made with sensor usb:A1 on neck"):
        calibration.check_sensors({"neck": "usb:B"})


@pytest.mark.parametrize("rate", [1, 299, 4_000_001, -9600])
def test_the_driver_refuses_impossible_baud_rates(rate: int):
    """Regression: `baud_rate` from 1 to 299 was accepted, and the ports stayed silent."""
    with pytest.raises(PallasError, match=rf"baud_rate {rate}: give 300 to 4000000, or 0"):
        ImuDriver(["a", "b", "c", "d"], ["witmotion"], lambda site, sample: None, baud_rate=rate)
