"""Folders of CSV files, written by x-io's own converter, by Xsens DOT and by hand; units come from
the header and are never assumed.
"""

import time
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
from pallas_ros.pipeline.recorded import open_source

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


WRITERS = {
    "times of day, over midnight": "time",
    "date and time, as WitMotion's program writes": "witmotion",
    "date and time, as ISO 8601": "iso",
    "UTF-16": "utf-16",
    "rostopic echo -p": "ros",
    "PlotJuggler": "juggler",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_other_programs_write(
    writer: str, tracks: dict[str, SensorTrack], tmp_path: Path
) -> None:
    kind = WRITERS[writer]
    ros = kind in ("ros", "juggler")
    names = {
        "time": "Time",
        "witmotion": "Chip Time()",
        "iso": "timestamp",
        "utf-16": "Time (s)",
        "ros": "%time",
        "juggler": "__time",
    }
    columns = [f"Acc_{a} (g)" for a in "XYZ"] + [f"w{a}(deg/s)" for a in "xyz"]
    columns += [f"Q{k}()" for k in range(4)]
    if ros:
        before, mark = ("field.", ".") if kind == "ros" else ("/imu/", "/")
        columns = [f"{before}linear_acceleration{mark}{a}" for a in "xyz"]
        columns += [f"{before}angular_velocity{mark}{a}" for a in "xyz"]
        columns += [f"{before}orientation{mark}{a}" for a in "wxyz"]

    def when(t: float) -> str:
        late = 86398.5 + t  # the second day begins after 1.5 s
        clock = f"{int(late) % 86400 // 3600:02d}:{int(late) % 3600 // 60:02d}:{late % 60:06.3f}"
        if kind == "time":
            return clock
        if kind in ("witmotion", "iso"):
            day = "2026-03-01" if late >= 86400 else "2026-02-28"
            return f"{day}{' ' if kind == 'witmotion' else 'T'}{clock}"
        return f"{1.7e18 + t * 1e9:.0f}" if kind == "ros" else f"{t + 1.7e9:.6f}"

    for site, track in tracks.items():
        lines = [",".join([names[kind], *columns])]
        for k, t in enumerate(track.time):
            values = np.concatenate(
                (
                    track.acceleration[k] / (1.0 if ros else GRAVITY),
                    track.angular_velocity[k] * (1.0 if ros else 180 / np.pi),
                    track.orientation[k][[3, 0, 1, 2]],
                )
            )
            lines.append(",".join([when(float(t)), *(f"{v:.7f}" for v in values)]))
        encoding = "utf-16" if kind == "utf-16" else "utf-8"
        (tmp_path / f"{site}.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    samples, seconds = read_logger_folder(tmp_path)
    assert seconds == pytest.approx(3.0, abs=0.05)
    for site, track in tracks.items():
        mine = [sample for at, sample in samples if at == site]
        assert len(mine) == len(track.time)
        for k in range(0, len(mine), 20):
            since = (mine[k].stamp - mine[0].stamp) * 1e-9
            assert since == pytest.approx(float(track.time[k] - track.time[0]), abs=2e-3)
            np.testing.assert_allclose(mine[k].acceleration, track.acceleration[k], atol=1e-3)
            np.testing.assert_allclose(
                np.asarray(mine[k].angular_velocity), track.angular_velocity[k], atol=1e-3
            )
            off = rotations.angle_between(np.asarray(mine[k].orientation), track.orientation[k])
            assert off < 1e-3


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    header = "time,ax (g),ay (g),az (g),gx (dps),gy (dps),gz (dps)"
    for site in SITES:
        (tmp_path / f"{site}.csv").write_text(header + "\n" + "noon,0,0,1,0,0,0\n" * 5)
    with pytest.raises(PallasError, match="neither numbers nor times such as"):
        read_logger_folder(tmp_path)


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
def test_missing_parts_are_named(header: str, row: list[float], words: str, tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=words):
        read_logger_folder(simple(tmp_path, header, row))


@pytest.mark.parametrize("part", ["(", "[", " ", "_", "% ", "(a"])
def test_a_long_text_is_no_column_name(part: str, tmp_path: Path) -> None:
    header = "time (s),ax (g),ay (g),az (g),qx,qy,qz,qw," + part * (100_000 // len(part)) + "x"
    folder = simple(tmp_path, header, [0.01, 0, 0, 1, 0, 0, 0, 1, 5])
    begun = time.process_time()
    samples, _ = read_logger_folder(folder)
    assert len(samples) > 4
    assert time.process_time() - begun < 4


def test_topics_without_site_names_must_be_given(tmp_path: Path) -> None:
    header = "time (s),Acc_X,Acc_Y,Acc_Z,Quat_W,Quat_X,Quat_Y,Quat_Z"
    folder = simple(tmp_path, header, [0.01, 0, 0, 1.0, 1, 0, 0, 0], ["A", "B", "C", "D"])
    with pytest.raises(PallasError, match=r"no sensor for pelvis among A, B, C, D.*--topics"):
        read_logger_folder(folder)
    samples, _ = read_logger_folder(folder, dict(zip(SITES, "ABCD")))
    assert len(samples) == 200
    assert samples[0][1].acceleration == pytest.approx([0, 0, GRAVITY])  # known by its size
    assert np.asarray(samples[0][1].orientation) == pytest.approx([0, 0, 0, 1])


def holed(folder: Path, quantity: str, kept: int) -> Path:
    """A session whose pelvis sensor has finite values of a quantity in ``kept`` rows only."""
    header = (
        "time (s),Acc_X (m/s^2),Acc_Y,Acc_Z,Quat_W,Quat_X,Quat_Y,Quat_Z"
        ",Gyr_X (rad/s),Gyr_Y,Gyr_Z,Mag_X,Mag_Y,Mag_Z"
    )
    row = [0.01, 0, 0, GRAVITY, 1, 0, 0, 0, 0.1, 0, 0, 0, 1, 0]
    simple(folder, header, row)
    numbers = np.tile(row, (50, 1))
    numbers[:, 0] = np.arange(50) * 0.01
    first, last = {"Acc": (1, 4), "Quat": (4, 8), "Gyr": (8, 11), "Mag": (11, 14)}[quantity]
    numbers[kept:, first:last] = np.nan
    (folder / f"{SITES[0]}.csv").write_text(rows(header, numbers))
    return folder


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("quantity", ["Quat", "Gyr", "Mag"])
def test_a_quantity_of_one_row_or_none_is_known_there_alone(
    quantity: str, kept: int, tmp_path: Path
) -> None:
    samples, _ = read_logger_folder(holed(tmp_path, quantity, kept))
    name = {"Quat": "orientation", "Gyr": "angular_velocity", "Mag": "magnetic_field"}[quantity]
    values = [getattr(sample, name) for site, sample in samples if site == SITES[0]]
    assert len(values) == 50
    assert [value is not None for value in values] == [True] * kept + [False] * (50 - kept)


@pytest.mark.parametrize("kept", [0, 1])
def test_acceleration_of_one_row_or_none_is_refused(kept: int, tmp_path: Path) -> None:
    with pytest.raises(PallasError, match="fewer than two rows of acceleration"):
        read_logger_folder(holed(tmp_path, "Acc", kept))


def test_a_session_whose_only_orientation_is_no_number_is_refused(tmp_path: Path) -> None:
    header = "time (s),Acc_X,Acc_Y,Acc_Z,Quat_W,Quat_X,Quat_Y,Quat_Z"
    folder = simple(tmp_path, header, [0.01, 0, 0, 9.8, np.nan, 0, 0, 0])
    with pytest.raises(PallasError, match="neither gyroscope nor quaternion"):
        read_logger_folder(folder)


def test_rows_out_of_order_are_interpolated_in_order(tmp_path: Path) -> None:
    """A logger may write a block twice, or late."""
    for site in SITES:
        folder = tmp_path / site
        folder.mkdir()
        times = np.arange(50) * 0.01
        force = np.stack((times, 0 * times, 0 * times, 0 * times + GRAVITY), axis=1)
        header = "time (s),Accelerometer X (m/s^2),Accelerometer Y (m/s^2),Accelerometer Z (m/s^2)"
        (folder / "Inertial.csv").write_text(rows(header, force))
        order = np.concatenate((np.arange(20), np.arange(30, 50), np.arange(10, 30)))
        turn = np.stack((times + 0.004, times, 0 * times, 0 * times), axis=1)[order]
        header = "time (s),Gyroscope X (rad/s),Gyroscope Y (rad/s),Gyroscope Z (rad/s)"
        (folder / "Gyroscope.csv").write_text(rows(header, turn))
    samples, _ = read_logger_folder(tmp_path)
    for _, sample in samples:
        if sample.angular_velocity is not None:
            expected = (sample.stamp - 1) * 1e-9 - 0.004
            assert sample.angular_velocity[0] == pytest.approx(expected, abs=1e-6)


QUATERNIONS = "time (s),Acc_X (m/s^2),Acc_Y,Acc_Z,Quat_W,Quat_X,Quat_Y,Quat_Z"
AT_REST = [0.01, 0, 0, GRAVITY, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("more", "worn", "extra", "wanted"),
    [
        (["Left Shin", "Head"], {"neck": "neck"}, [], ()),
        (["Left Shin"], {}, ["left_shin"], ("left_shin",)),
        (["E"], {"left_shin": "E"}, [], ("left_shin",)),
        (["E"], {"left_shin": "E"}, ["left_shin"], ("left_shin",)),
        (["E", "Head"], {"left_shin": "E"}, ["all"], ("left_shin", "head")),
        (["Head", "Left Lower Leg"], {}, ["all"], ("left_shin", "head")),
        (["Head"], {}, ["head"], ("head",)),
        (["Other"], {}, ["all"], ()),
    ],
)
def test_optional_sensors_are_read_if_wanted(
    more: list[str],
    worn: dict[str, str],
    extra: list[str],
    wanted: tuple[str, ...],
    tmp_path: Path,
) -> None:
    folder = simple(tmp_path, QUATERNIONS, AT_REST, [*SITES, *more])
    source = open_source(folder, worn, extra_sites=extra)
    assert source.extra_sites == wanted
    assert {site for site, _ in source.samples} == {*SITES, *wanted}


def test_a_head_that_stands_for_the_neck_is_not_read_twice(tmp_path: Path) -> None:
    names = [site for site in SITES if site != "neck"]
    folder = simple(tmp_path, QUATERNIONS, AT_REST, [*names, "Head"])
    assert open_source(folder, extra_sites=["all"]).extra_sites == ()


def test_an_optional_sensor_that_is_not_in_the_folder_is_named(tmp_path: Path) -> None:
    folder = simple(tmp_path, QUATERNIONS, AT_REST)
    with pytest.raises(PallasError, match=r"no sensor for left_shin among .*left_shin=NAME"):
        open_source(folder, extra_sites=["left_shin"])
    with pytest.raises(PallasError, match="unknown sensor site 'left_toe'"):
        open_source(folder, extra_sites=["left_toe"])


INERTIAL = ["SampleTimeFine", *(f"Acc_{a} (g)" for a in "XYZ"), *(f"Gyr_{a} (dps)" for a in "XYZ")]


def at_rest(times: np.ndarray, delimiter: str = ",", decimal: str = ".") -> list[str]:
    """The lines of a sensor at rest: header, and a row for each time in us."""
    values = [v.replace(".", decimal) for v in ("0.0", "0.0", "1.0", "0.5", "0.0", "0.0")]
    return [delimiter.join(INERTIAL)] + [delimiter.join([f"{t}", *values]) for t in times.tolist()]


TIMES = np.arange(200) * 10_000


def each_site(folder: Path, lines: list[str], suffix: str = "csv") -> Path:
    for site in SITES:
        (folder / f"{site}.{suffix}").write_text("\n".join(lines))
    return folder


def test_a_clock_of_32_bits_continues(tmp_path: Path) -> None:
    """Regression: after 71.6 minutes Xsens' time begins again, and the rest was sorted before."""
    samples, seconds = read_logger_folder(
        each_site(tmp_path, at_rest((TIMES + 2**32 - 1_000_000) % 2**32))
    )
    assert seconds == pytest.approx(1.99)
    assert len(samples) == 4 * len(TIMES)


def test_two_recordings_in_a_file_are_refused(tmp_path: Path) -> None:
    """Regression: their samples were interleaved."""
    lines = at_rest(TIMES * 4)
    each_site(tmp_path, lines + at_rest(TIMES * 4 + 3)[1:])
    with pytest.raises(PallasError, match=r"go back by 7\.96 s after 7\.96 s, as in a second"):
        read_logger_folder(tmp_path)


@pytest.mark.parametrize("count", [200, 20_000])
def test_an_unclosed_quote_damages_one_row(count: int, tmp_path: Path) -> None:
    """Regression: the rest of the file was lost, or the command ended in a traceback."""
    lines = at_rest(np.arange(count) * 10_000)
    lines[50] = f'"{lines[50]}'
    samples, seconds = read_logger_folder(each_site(tmp_path, lines))
    assert len(samples) == 4 * (count - 1)
    assert seconds == pytest.approx((count - 1) * 0.01)
    lines[60] = "1" * 200_000 + ",0,0,1,0,0,0"
    samples, _ = read_logger_folder(each_site(tmp_path, lines))
    assert len(samples) == 4 * (count - 2)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read(delimiter: str, tmp_path: Path) -> None:
    """Regression: only between semicolons."""
    samples, _ = read_logger_folder(each_site(tmp_path, at_rest(TIMES, delimiter, ",")))
    assert np.asarray(samples[0][1].angular_velocity)[0] == pytest.approx(np.radians(0.5))


def test_files_of_memory_cards_are_read(tmp_path: Path) -> None:
    """Regression: `.CSV` was unknown, and macOS's `._NAME.csv` counted as sensors."""
    each_site(tmp_path, at_rest(TIMES), "CSV")
    for site in SITES:
        (tmp_path / f"._{site}.csv").write_bytes(b"\0\5\x16\7")
    assert is_logger_folder(tmp_path)
    assert len(read_logger_folder(tmp_path)[0]) == 4 * len(TIMES)


def test_negative_times_are_moved(tmp_path: Path) -> None:
    """Regression: all samples before 0 had the same stamp, and were rejected."""
    header = ",".join(["time (s)", *INERTIAL[1:]])
    times = np.arange(-100, 100) * 0.01
    lines = [header, *(f"{t:.2f},0,0,1,0,0,0" for t in times)]
    samples, seconds = read_logger_folder(each_site(tmp_path, lines))
    assert seconds == pytest.approx(1.99)
    assert samples[0][1].stamp == 1
