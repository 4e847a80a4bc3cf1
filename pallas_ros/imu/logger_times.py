"""Times in the CSV files of loggers: timestamps with and without units, and times of day."""

import re
from datetime import date
from pathlib import Path

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array

_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
WRAPPING = "32 bits"
"""Unit of Xsens' SampleTimeFine: microseconds that wrap around after 71.6 minutes."""
_TIME_OF_DAY = re.compile(
    r"(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})[ T]+)?(\d{1,2}):(\d{2}):(\d{2})(?:[.,:](\d{1,9}))?Z?"
)
_DAY_S = 86400
_EPOCH = date(1970, 1, 1).toordinal()


def time_of_day(text: str) -> float:
    """Return a time of day in s, from 1970 if there is a date; NaN if it is none."""
    match = _TIME_OF_DAY.fullmatch(text.strip())
    if match is None:
        return float("nan")
    year, month, day, hours, minutes, seconds, part = match.groups()
    try:
        days = 0 if year is None else date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return float("nan")
    whole = days * _DAY_S + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + (0.0 if part is None else int(part) / 10 ** len(part))


def seconds(file: Path, stamp: Array, unit: str) -> Array:
    """Return timestamps (n,) in s; without a unit in the header, inferred from the sample rate.

    Raises:
        PallasError: the unit is unknown, or missing and ambiguous.
    """
    if unit == WRAPPING:
        return unwrapped(stamp) * 1e-6
    if unit:
        if unit not in _SECONDS:
            raise PallasError(f"{file}: time in '{unit}': give {', '.join(_SECONDS)}")
        return stamp * _SECONDS[unit]
    known = stamp[np.isfinite(stamp)]
    if len(known) < 2:
        raise PallasError(
            f"{file}: the time column has neither numbers nor times such as 10:15:00.5"
        )
    step = float(np.median(np.diff(known)))
    fits = [scale for scale in (1.0, 1e-3, 1e-6, 1e-9) if 1e-3 <= step * scale <= 0.1]
    if len(fits) != 1:
        raise PallasError(
            f"{file}: the time column has no unit, and its steps of {step:.4g} do not determine"
            " one: name it 'time (s)'"
        )
    return stamp * fits[0]


def unwrapped(stamp: Array, period: float = 2.0**32) -> Array:
    """Return the times (n,) of a clock that wraps around after ``period``, without the wraps.

    NaN is kept. Unlike with `numpy.unwrap`, a pause of more than half a period stays.
    """
    out = stamp.copy()
    known = np.isfinite(out)
    if known.any():
        back = np.diff(out[known], prepend=out[known][0]) < -period / 2
        out[known] += period * np.cumsum(back)
    return out


def over_midnight(clock: Array) -> Array:
    """Return times of day (n,) in s that increase past midnight; NaN is kept."""
    return unwrapped(clock, _DAY_S)
