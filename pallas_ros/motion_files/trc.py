"""TRC (Motion Analysis, OpenSim, Pose2Sim): a tab-separated table of points."""

import io
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
        rows: list[list[float]] = []
        while line := text.readline(_LONGEST_LINE):
            if line.strip():
                rows.append(_row(path, line, len(names), len(rows)))
            if len(rows) > MAX_FRAMES:
                raise PallasError(f"{path}: more than {MAX_FRAMES} frames; cut it")
    table = np.array(rows).reshape(-1, 1 + 3 * len(names))
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


def _row(path: Path, line: str, count: int, frame: int) -> list[float]:
    """Return time and coordinates; blank, missing or non-finite values become NaN."""
    cells = line.rstrip("\n").split("\t")[1 : 2 + 3 * count]
    try:
        values = [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError:
        raise PallasError(
            f"{path}: not a readable TRC file: row {frame} contains something that is not a number"
        ) from None
    values += [np.nan] * (1 + 3 * count - len(values))
    return [value if abs(value) < 1e9 else np.nan for value in values]


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
