"""C3D: a binary table of labelled points, read with the library ``c3d``."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import MAX_FRAMES
from pallas_ros.files.opening import open_regular
from pallas_ros.motion_files import points
from pallas_ros.motion_files.axes import UNITS
from pallas_ros.motion_files.source import MAX_JOINTS, Source

KIND = "C3D"
SUFFIXES = (".c3d",)
MAX_BYTES = 1 << 30
_MAGIC = 0x50


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a C3D: its second byte is constant."""
    return len(head) >= 512 and head[1] == _MAGIC and 1 < head[0] < 128


def read(path: Path) -> Source:
    """Read a C3D file.

    Raises:
        PallasError: it is not a C3D file, or the library is not installed.
    """
    try:
        import c3d
    except ImportError:
        raise PallasError(
            f"{path}: reading C3D needs the package c3d: pip install 'pallas-ros[mocap]'"
        ) from None
    with open_regular(path, KIND, MAX_BYTES) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # c3d warns where it should raise
        try:
            reader = c3d.Reader(file)
            count = int(reader.point_used)
            labels = list(reader.point_labels)
            unit = str(reader.get_string("POINT:UNITS")) if reader.get("POINT:UNITS") else ""
            rate = float(reader.point_rate)
            announced = int(reader.frame_count)
            frames = _frames(path, reader, count)
        except PallasError:
            raise
        except Exception as error:  # c3d raises AssertionError, struct.error and others
            raise PallasError(
                f"{path}: not a readable C3D file ({str(error) or type(error).__name__})"
            ) from None
    names = [str(label).strip() or f"point {i}" for i, label in enumerate(labels[:count])]
    names += [f"point {i}" for i in range(len(names), count)]
    table = np.array(frames).reshape(-1, count, 3)
    metres = UNITS.get(unit.strip().strip("\x00").lower())
    source = points.source(KIND, path, names, table, rate, metres)
    if announced != len(table):
        source.remarks.append(
            f"its header announces {announced} frames, but it contains {len(table)}"
        )
    return source


def _frames(path: Path, reader: Any, count: int) -> list[np.ndarray]:
    """Return the points (count, 3) of every frame, NaN if missing."""
    if not 0 < count <= MAX_JOINTS:
        raise PallasError(f"{path}: this C3D contains {count} points (1 to {MAX_JOINTS} are read)")
    frames = []
    for _, values, _ in reader.read_frames(copy=False):
        seen = (values[:, 3] >= 0)[:, None] & (np.abs(values[:, :3]) < 1e9)
        frames.append(np.where(seen, values[:, :3].astype(np.float64), np.nan))
        if len(frames) > MAX_FRAMES:
            raise PallasError(f"{path}: more than {MAX_FRAMES} frames; cut it")
    return frames
