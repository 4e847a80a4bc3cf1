"""TRC (Motion Analysis, OpenSim, Pose2Sim): a tab-separated table of points."""

import io
from array import array
from pathlib import Path

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import MAX_FRAMES
from pallas_ros.files.opening import open_regular
from pallas_ros.motion_files import points
from pallas_ros.motion_files.axes import UNITS
from pallas_ros.motion_files.source import MAX_JOINTS, Source

KIND = "TRC"
SUFFIXES = (".trc",)
MAX_BYTES = 1 << 30
_LONGEST_LINE = 1 << 20
_MAX_NUMBERS = 50_000_000
"""Times and coordinates of a file; 46 minutes of 50 points at 120 Hz have 50 million."""


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a TRC."""
    return head.lstrip(b"\xef\xbb\xbf")[:12] == b"PathFileType"


def read(path: Path) -> Source:
    """Read a TRC file.

    Raises:
        PallasError: it is not a TRC file, or has no frames.
    """
    with open_regular(path, KIND, MAX_BYTES) as file:
        text = io.TextIOWrapper(file, encoding="latin-1", newline=None)
        head = [text.readline(_LONGEST_LINE).rstrip("\n").split("\t") for _ in range(5)]
        header = {
            key.strip().lower(): value.strip() for key, value in zip(head[1], head[2], strict=False)
        }
        names = [name.strip() for name in head[3][2:] if name.strip()]
        if not names or len(names) > MAX_JOINTS:
            raise PallasError(f"{path}: not a readable TRC file: line 4 names no points")
        table = _table(path, text, len(names))
    unit = header.get("units", "").lower()
    source = points.source(
        kind=KIND,
        path=path,
        names=names,
        points=table[:, 1:].reshape(len(table), len(names), 3),
        fps=_rate(header.get("datarate", ""), table[:, 0]),
        metres=UNITS.get(unit),
    )
    announced = header.get("numframes", "")
    if announced.isdigit() and int(announced) != len(table):
        source.remarks.append(
            f"its header announces {announced} frames, but it contains {len(table)}"
        )
    return source


def _table(path: Path, text: io.TextIOWrapper, count: int) -> np.ndarray:
    """Return time and coordinates (T, 1 + 3 * count) of the remaining lines."""
    width = 1 + 3 * count
    numbers = array("d")
    rows = 0
    while line := text.readline(_LONGEST_LINE):
        if not line.strip():
            continue
        rows += 1
        if rows > MAX_FRAMES:
            raise PallasError(f"{path}: more than {MAX_FRAMES} frames; cut it")
        if rows * width > _MAX_NUMBERS:  # short rows too are stored in full
            raise PallasError(
                f"{path}: more than {_MAX_NUMBERS // width} frames of {count} points; cut it"
            )
        numbers.extend(_row(path, line, count, rows - 1))
    return np.asarray(numbers).reshape(-1, width)


def _row(path: Path, line: str, count: int, frame: int) -> "array[float]":
    """Return time and coordinates; blank, missing or non-finite values become NaN."""
    cells = line.rstrip("\n").split("\t")[1 : 2 + 3 * count]
    try:
        values = [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError:
        raise PallasError(
            f"{path}: not a readable TRC file: row {frame} contains something that is not a number"
        ) from None
    row = array("d", [value if abs(value) < 1e9 else np.nan for value in values])
    row.extend(array("d", [np.nan]) * (1 + 3 * count - len(row)))
    return row


def _rate(stated: str, times: np.ndarray) -> float:
    """Return frames per second from the time column, else from the header."""
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) and np.isfinite(steps).all() else 0.0
    if step > 0:
        return round(1 / step, 3)
    try:
        return float(stated)
    except ValueError:
        return 0.0
