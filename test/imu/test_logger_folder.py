"""Folders of CSV files: written by x-io's own converter, by Xsens DOT, by hand; units from the
header, never assumed.
"""

from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.imu.logger_folder import is_logger_folder, read_logger_folder
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.protocols import Reading
from pallas_ros.imu.protocols.ximu3 import XImu3Encoder
from pallas_ros.imu.sample import GRAVITY
from pallas_ros.imu.virtual import SensorNoise, SensorTrack, VirtualSensors

NAMES = dict(zip(SITES, ("Waist", "Neck", "Left Wrist", "Right-Wrist")))


@pytest.fixture(scope="module")
def tracks() -> dict[str, SensorTrack]:
    return VirtualSensors(SensorNoise.none(), seed=1).tracks(demo_motion(3.0), 100.0)


def rows(header: str, numbers: np.ndarray, delimiter: str = ",") -> str:
    lines = [delimiter.join(f"{v:.6f}" for v in row) for row in numbers]
    return header + "\n" + "\n".join(lines) + "\n"


def test_what_the_makers_converter_writes(tracks: dict[str, SensorTrack], tmp_path: Path) -> None:
    ximu3 = pytest.importorskip("ximu3")
    encoder = XImu3Encoder()
    for site, track in tracks.items():
        data = b"".join(
            encoder.encode(
                Reading(
                    float(track.time[k]) + 1,
                    tuple(track.acceleration[k]),
                    tuple(track.angular_velocity[k]),
                    tuple(track.orientation[k]),
                    tuple(track.magnetic_field[k]),
                )
            )
            for k in range(len(track.time))
        )
        (tmp_path / f"{site}.ximu3").write_bytes(data)
        ximu3.FileConverter.convert(str(tmp_path), "s", [str(tmp_path / f"{site}.ximu3")])
        folder = tmp_path / "session" / NAMES[site]
        folder.parent.mkdir(exist_ok=True)
        next((tmp_path / "s").iterdir()).rename(folder)
        (tmp_path / "s").rmdir()
        # what the converter writes beside, as far as the sensor sent it
        (folder / "Temperature.csv").write_text("Timestamp (us),Temperature (°C)\n1,25\n2,25\n")
        (folder / "Battery.csv").write_text(
            "Timestamp (us),Percentage (%),Voltage (V),Charging Status\n1,90,4.1,1\n"
        )
        (folder / "Notification.csv").write_text("Timestamp (us),String\n1,Started, all well\n")
        (folder / "Error.csv").write_text("Timestamp (us),String\n")
    assert is_logger_folder(tmp_path / "session")
    samples, seconds = read_logger_folder(tmp_path / "session")
    assert seconds == pytest.approx(3.0, abs=0.1)
    for site, track in tracks.items():
        mine = [sample for at, sample in samples if at == site]
        assert len(mine) == len(track.time)
        for k in range(0, len(mine), 20):
            np.testing.assert_allclose(mine[k].acceleration, track.acceleration[k], atol=1e-4)
            np.testing.assert_allclose(
                np.asarray(mine[k].angular_velocity), track.angular_velocity[k], atol=1e-4
            )
            off = rotations.angle_between(np.asarray(mine[k].orientation), track.orientation[k])
            assert off < 1e-3
            assert mine[k].stamp == pytest.approx((float(track.time[k]) + 1) * 1e9, abs=2000)


UNITS = {
    "g, deg/s, us": ("Time (us)", 1e6, "g", 1 / GRAVITY, "deg/s", 180 / np.pi),
    "m/s^2, rad/s, ms": ("t [ms]", 1e3, "m/s^2", 1.0, "rad/s", 1.0),
    "mg, dps, s": ("timestamp (s)", 1.0, "mg", 1000 / GRAVITY, "dps", 180 / np.pi),
}


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_one_file_a_sensor_in_any_units(
    units: str, delimiter: str, tracks: dict[str, SensorTrack], tmp_path: Path
) -> None:
    time, per_s, force, per_force, rate, per_rate = UNITS[units]
    header = delimiter.join(
        [
            time,
            *(f"Acc_{a} ({force})" for a in "XYZ"),
            *(f"Gyr_{a} ({rate})" for a in "XYZ"),
            *(f"q{k}" for k in range(4)),
        ]
    )
    for site, track in tracks.items():
        table = np.column_stack(
            (
                (track.time + 1) * per_s,
                track.acceleration * per_force,
                track.angular_velocity * per_rate,
                track.orientation[:, [3, 0, 1, 2]],
            )
        )
        text = rows(header, table, delimiter)
        (tmp_path / f"{site}.csv").write_text("sep=,\nmade by a logger\n" + text)
    samples, _ = read_logger_folder(tmp_path)
    site, sample = samples[100]
    k = int(np.argmin(np.abs(tracks[site].time + 1 - sample.stamp * 1e-9)))
    np.testing.assert_allclose(sample.acceleration, tracks[site].acceleration[k], atol=1e-2)
    np.testing.assert_allclose(
        np.asarray(sample.angular_velocity), tracks[site].angular_velocity[k], atol=1e-3
    )
    assert (
        rotations.angle_between(np.asarray(sample.orientation), tracks[site].orientation[k]) < 1e-3
    )


def simple(folder: Path, header: str, row: list[float], names: list[str] | None = None) -> Path:
    numbers = np.tile(row, (50, 1))
    numbers[:, 0] = np.arange(50) * row[0]
    for name in names or list(SITES):
        (folder / f"{name}.csv").write_text(rows(header, numbers))
    return folder


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("time,ax,ay,az,gx,gy,gz", [0.01, 0, 0, 9.8, 0, 0, 0], "angular velocity have no unit"),
        ("time (s),FreeAcc_X,FreeAcc_Y,FreeAcc_Z", [0.01, 0, 0, 0], "without gravity"),
        ("time (s),Acc_X,Acc_Y,Acc_Z", [0.01, 0, 0, 9.8], "neither gyroscope nor quaternion"),
        (
            "time (s),Acc_X,Acc_Y,Acc_Z,Gyr_X (deg/s),Gyr_Y (deg/s),Gyr_Z (deg/s)",
            [1e200, 0, 0, 9.8, 0, 0, 0],
            "a time of 4.9e",
        ),
        ("time (h),Acc_X,Acc_Y,Acc_Z", [0.01, 0, 0, 9.8], "time in 'h'"),
        ("Acc_X,Acc_Y,Acc_Z,Gyr_X (deg/s)", [0.01, 0, 0, 9.8], "no time column"),
        ("time,Acc_X (lbf),Acc_Y (lbf),Acc_Z (lbf)", [0.01, 0, 0, 9.8], "force in 'lbf'"),
    ],
)
def test_what_is_missing_is_named(
    header: str, row: list[float], words: str, tmp_path: Path
) -> None:
    with pytest.raises(PallasError, match=words):
        read_logger_folder(simple(tmp_path, header, row))


def test_names_that_say_no_site_are_asked_for_and_can_be_given(tmp_path: Path) -> None:
    header = "time (s),Acc_X,Acc_Y,Acc_Z,Quat_W,Quat_X,Quat_Y,Quat_Z"
    folder = simple(tmp_path, header, [0.01, 0, 0, 1.0, 1, 0, 0, 0], ["A", "B", "C", "D"])
    with pytest.raises(PallasError, match=r"no sensor for pelvis among A, B, C, D.*--topics"):
        read_logger_folder(folder)
    samples, _ = read_logger_folder(folder, dict(zip(SITES, "ABCD")))
    assert len(samples) == 200
    assert samples[0][1].acceleration == pytest.approx([0, 0, GRAVITY])  # known by its size
    assert np.asarray(samples[0][1].orientation) == pytest.approx([0, 0, 0, 1])
