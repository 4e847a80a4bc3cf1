"""Folders of CSV files written by loggers: x-IMU3, Xsens DOT, and any with named columns and units.

A sensor is a folder of files (x-IMU3: Inertial.csv, Quaternion.csv, Magnetometer.csv) or one file
with all columns. Units are read from the header (``Accelerometer X (g)``) and never assumed: a
column without a unit is accepted only if its values are unambiguous. Sources: headers as written by
the ``ximu3`` package; Movella, "Xsens DOT User Manual", section on recorded data.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array
from pallas_ros.files.opening import read_text
from pallas_ros.imu.logger_sites import csv_files, sensors_of
from pallas_ros.imu.logger_times import WRAPPING, over_midnight, seconds, time_of_day
from pallas_ros.imu.recording import LATEST_STAMP_S
from pallas_ros.imu.sample import GRAVITY, ImuSample

MAX_FILE_BYTES = 512 << 20
"""An hour of inertial data at 400 Hz is 120 MB."""
_HEADER_WITHIN = 40
"""Maximum number of preamble lines before the header."""

_LONGEST_GAP_S = 0.2
"""s, maximum gap for interpolating orientation and angular velocity, as in the synchroniser."""

_FORCES = {
    "g": GRAVITY,
    "mg": GRAVITY / 1000,
    "m/s^2": 1.0,
    "m/s2": 1.0,
    "m/s²": 1.0,
    "m/s/s": 1.0,
    "m.s^-2": 1.0,
    "ms-2": 1.0,
}
_RATES = {
    "rad/s": 1.0,
    "deg/s": np.pi / 180,
    "°/s": np.pi / 180,
    "dps": np.pi / 180,
    "degrees/s": np.pi / 180,
    "mdps": np.pi / 180_000,
}
_LONGEST_NAME = 100  # characters of a column's name and unit; the patterns are slow for more
_UNIT = re.compile(r"^(.*?)[\s_]*[(\[]([^)\]]*)[)\]]\s*$")
_QUANTITIES = (
    ("free", re.compile(r"free|linear|earth")),
    ("force", re.compile(r"^acc|^a[_ ]?[xyz]$")),
    ("rate", re.compile(r"^gyr|^ang|^g[_ ]?[xyz]$|^w[_ ]?[xyz]$")),
    ("field", re.compile(r"^mag|^m[_ ]?[xyz]$")),
    ("quaternion", re.compile(r"^q|^orientation|^[wxyz]$")),
)
_TIME = re.compile(r"^[% ]*(chip )?(time|timestamp|t|stamp|sampletimefine|elapsed.*|.*\btime)$")
_ROS = re.compile(r"(?:^|[./])(linear_acceleration|angular_velocity|orientation)[./]([xyzw])$")
"""Columns of sensor_msgs/Imu, as written by ``rostopic echo -p`` and PlotJuggler."""
_OF_ROS = {
    "linear_acceleration": ("force", "m/s^2"),
    "angular_velocity": ("rate", "rad/s"),
    "orientation": ("quaternion", ""),
}
_W_FIRST = {"0": "w", "1": "x", "2": "y", "3": "z"}


@dataclass
class _Sensor:
    """Data from the files of one sensor: times (n,) s and values of each quantity."""

    time: dict[str, Array] = field(default_factory=dict)
    value: dict[str, Array] = field(default_factory=dict)


def is_logger_folder(path: Path) -> bool:
    """Whether there are CSV files in the folder, or one folder below."""
    return path.is_dir() and any(csv_files(path, depth) for depth in (0, 1))


def read_logger_folder(
    path: Path, worn: Mapping[str, str] | None = None, extra_sites: Sequence[str] = ()
) -> tuple[list[tuple[str, ImuSample]], float]:
    """Read the raw samples of the sensors in order of time, and their duration in s.

    Args:
        path: the folder.
        worn: site -> name of the sensor's folder or file, if the name does not contain the site.
            Optional sites in it are read.
        extra_sites: further optional sites to read; ``["all"]``: those that names in the folder
            contain.

    Raises:
        PallasError: a sensor, a column or a unit is missing.
    """
    where = sensors_of(path, worn or {}, extra_sites)
    samples: list[tuple[str, ImuSample]] = []
    for site, files in where.items():
        samples += [(site, sample) for sample in _samples(_read(files), files[0])]
    samples.sort(key=lambda entry: entry[1].stamp)
    early = 1 - samples[0][1].stamp
    if early > 0:  # times relative to an event may be negative, stamps may not
        samples = [(site, replace(s, stamp=s.stamp + early)) for site, s in samples]
    return samples, (samples[-1][1].stamp - samples[0][1].stamp) * 1e-9


def _read(files: list[Path]) -> _Sensor:
    """Read the quantities in the files of one sensor; of duplicates the first is used."""
    sensor = _Sensor()
    free = False
    for file in files:
        for quantity, (time, value) in _quantities(file, alone=len(files) == 1).items():
            if quantity == "free":
                free = True
            elif quantity not in sensor.value:
                sensor.time[quantity] = time
                sensor.value[quantity] = value
    place = files[0].parent if len(files) > 1 else files[0]
    if "force" not in sensor.value:
        why = "only acceleration without gravity in it" if free else "no columns of acceleration"
        raise PallasError(f"{place}: {why}: export the accelerometer's x, y and z, with gravity")
    if len(sensor.time["force"]) < 2:
        raise PallasError(f"{place}: fewer than two rows of acceleration with a time")
    if not {"quaternion", "rate"} & set(sensor.value):
        raise PallasError(
            f"{files[0]}: neither gyroscope nor quaternion in it: export one of them, so that there"
            " is an orientation"
        )
    return sensor


def _quantities(file: Path, alone: bool) -> dict[str, tuple[Array, Array]]:
    """Return quantity -> times (n,) s and values (n, 3 or 4) in SI units, xyzw.

    Rows with a value that is not finite are left out; n is at least 1, of "force" at least 0.
    Beside others (not ``alone``), a file of something else (temperature, battery, notifications)
    gives none.
    """
    lines = read_text(file, "logger's CSV file", MAX_FILE_BYTES).splitlines()
    start = next((k for k, line in enumerate(lines[:_HEADER_WITHIN]) if _is_header(line)), None)
    if start is None:
        if alone:
            raise PallasError(f"{file}: no line of column names")
        return {}
    delimiter, names = _split(lines[start])
    columns: dict[str, dict[str, tuple[int, str]]] = {}
    time: tuple[int, str] | None = None
    for index, name in enumerate(names):
        words, unit = _name_and_unit(name if len(name) <= _LONGEST_NAME else "")
        if time is None and _TIME.match(words):
            time = index, WRAPPING if words == "sampletimefine" else unit
            continue
        ros = _ROS.search(name.lower())
        if ros:
            quantity, unit = _OF_ROS[ros[1]]
            columns.setdefault(quantity, {}).setdefault(ros[2], (index, unit))
            continue
        quantity = _quantity(words, file.stem.lower())
        if quantity:
            axis = _W_FIRST.get(words[-1], words[-1]) if quantity == "quaternion" else words[-1]
            columns.setdefault(quantity, {}).setdefault(axis, (index, unit))
    complete = {
        quantity: axes
        for quantity, axes in columns.items()
        if all(axis in axes for axis in ("xyzw" if quantity == "quaternion" else "xyz"))
    }
    if not complete:
        return {}
    if time is None:
        raise PallasError(f"{file}: no time column; it has {', '.join(names)[:200]}")
    rows, clock = _rows(file, lines[start + 1 :], delimiter, len(names), time[0])
    stamp = clock if clock is not None else seconds(file, rows[:, time[0]], time[1])
    out = {}
    for quantity, axes in complete.items():
        order = "xyzw" if quantity == "quaternion" else "xyz"
        values = rows[:, [axes[axis][0] for axis in order]]
        good = np.isfinite(values).all(axis=1) & np.isfinite(stamp)
        if quantity != "force" and not good.any():
            continue
        scale = _scale(file, quantity, axes["x"][1], values[good])
        if scale is not None:
            out[quantity] = stamp[good], values[good] * scale
    return out


def _rows(
    file: Path, lines: list[str], delimiter: str, columns: int, time: int
) -> tuple[Array, Array | None]:
    """Read the rows of numbers; anything else becomes NaN.

    If the column ``time`` contains times of day, also return them in s.
    """
    decimal = delimiter != ","
    split = (_fields(line, delimiter) for line in lines)
    texts = [row[:columns] for row in split if len(row) >= columns]
    if len(texts) < 2:
        raise PallasError(f"{file}: fewer than two rows of numbers")
    rows = [[_number(text.replace(",", ".") if decimal else text) for text in row] for row in texts]
    clock = np.array([time_of_day(row[time]) for row in texts])
    if not np.isfinite(clock).any():
        return np.array(rows, dtype=np.float64), None
    return np.array(rows, dtype=np.float64), over_midnight(clock)


def _fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line, of which an unclosed quote damages no other; [] if too long."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _split(line: str) -> tuple[str, list[str]]:
    """Return the delimiter of a line and its fields."""
    delimiter = max(",;\t", key=line.count)
    return delimiter, [name.strip().strip('"') for name in line.split(delimiter)]


def _is_header(line: str) -> bool:
    names = _split(line)[1]
    return len(names) >= 4 and not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    return not np.isnan(_number(text))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _name_and_unit(name: str) -> tuple[str, str]:
    """``Accelerometer X (g)`` -> ("accelerometer x", "g")."""
    words, unit = match.groups() if (match := _UNIT.match(name)) else (name, "")
    return re.sub(r"[\s_]+", " ", words.strip().lower()), unit.strip().lower().replace(" ", "")


def _quantity(words: str, stem: str) -> str:
    """Return what a column measures; "" if unknown.

    The name decides, or the file's name if the column is called just x, y or z.
    """
    if not words or words[-1] not in "xyzw0123":
        return ""
    if words in ("x", "y", "z", "w"):
        if stem.startswith("quat"):
            return "quaternion"
        words = f"{stem} {words}"
    for quantity, pattern in _QUANTITIES:
        if pattern.search(words):
            return quantity
    return ""


def _scale(file: Path, quantity: str, unit: str, values: Array) -> float | None:
    """Return the factor to SI units; None if the values are to be skipped.

    Raises:
        PallasError: the unit is missing or unknown, and the values are ambiguous.
    """
    units = {"force": _FORCES, "rate": _RATES}.get(quantity)
    if units is None:
        return 1.0
    if unit in units:
        return float(units[unit])
    if unit:
        raise PallasError(f"{file}: {quantity} in '{unit}': give one of {', '.join(units)}")
    if quantity == "force":
        length = float(np.median(np.linalg.norm(values, axis=1)))
        for scale in (1.0, GRAVITY, GRAVITY / 1000):
            if 0.8 < length * scale / GRAVITY < 1.25:
                return scale
    raise PallasError(
        f"{file}: the columns of {'acceleration' if quantity == 'force' else 'angular velocity'}"
        " have no unit: add it to the name, as in 'Gyroscope X (deg/s)'; known are"
        f" {', '.join(units)}"
    )


_LATE_S = 5.0
"""s, longest step back of the times: a logger may write a block late, or twice."""


def _samples(sensor: _Sensor, file: Path) -> Iterator[ImuSample]:
    """Yield samples at the accelerometer's timestamps.

    Other quantities are interpolated, or absent if unknown.
    """
    time = sensor.time["force"]
    force = sensor.value["force"]
    back = np.diff(time)
    if back.min() < -_LATE_S:
        k = int(back.argmin())
        raise PallasError(
            f"{file}: its times go back by {-back[k]:.3g} s after {time[k]:.10g} s, as in a second"
            " recording or a damaged row: cut or repair the file there"
        )
    rising = np.concatenate(([True], np.diff(time) > 0))
    time = time[rising]
    force = force[rising]
    if len(time) < 2:
        raise PallasError(f"{file}: its times do not advance")
    if not np.abs(time).max() < LATEST_STAMP_S:
        raise PallasError(f"{file}: a time of {np.abs(time).max():.3g} s; repair or cut the file")
    rate = _interpolated(sensor, "rate", time)
    magnetic = _interpolated(sensor, "field", time)
    orientation = _interpolated(sensor, "quaternion", time)
    for k, (at, f) in enumerate(zip(time.tolist(), force)):
        yield ImuSample(
            round(at * 1e9) + 1,
            None if orientation is None or np.isnan(orientation[k, 0]) else orientation[k],
            f,
            None if rate is None or np.isnan(rate[k, 0]) else rate[k],
            None if magnetic is None or np.isnan(magnetic[k, 0]) else magnetic[k],
        )


def _interpolated(sensor: _Sensor, quantity: str, at: Array) -> Array | None:
    """Interpolate values at times ``at`` (n,) s; None if there are none.

    NaN before the first and after the last. Rows may be in any order, and there may be just one.
    """
    if quantity not in sensor.value:
        return None
    time, first = np.unique(sensor.time[quantity], return_index=True)
    value = sensor.value[quantity][first]
    if len(time) == len(at) and np.array_equal(time, at):
        return value
    after = np.minimum(np.searchsorted(time, at), len(time) - 1)
    before = np.maximum(after - 1, 0)
    span = np.maximum(time[after] - time[before], 1e-9)
    share = np.clip((at - time[before]) / span, 0.0, 1.0)
    if quantity == "quaternion":
        out = np.asarray(
            rotations.slerp(
                rotations.normalise(value[before]), rotations.normalise(value[after]), share
            )
        )
    else:
        out = value[before] + (value[after] - value[before]) * share[:, None]
    out[(at < time[0]) | (at > time[-1]) | (span > _LONGEST_GAP_S)] = np.nan
    return out
