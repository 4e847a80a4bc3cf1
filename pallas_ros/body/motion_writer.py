"""Write motion files frame by frame, in constant memory."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS

_COUNT = len(JOINTS)
_BLOCK = 512  # frames in memory
_COPY_BYTES = 1 << 20
LONGEST_GAP_S = 3600.0
"""A longer gap between two frames is attributed to a clock jump, not to silent sensors."""

_ROW = np.dtype(
    [
        ("stamp_ns", np.int64),
        ("valid", np.bool_),
        ("positions", np.float32, (_COUNT, 3)),
        ("rotations", np.float32, (_COUNT, 4)),
        ("position_covariance", np.float32, (_COUNT, 3, 3)),
        ("confidence", np.float32, (_COUNT,)),
        ("contacts", np.float32, (2,)),
    ]
)


class MotionWriter:
    """Resample bodies to a grid of ``fps`` and write them atomically as a motion file
    (docs/guide/conventions.md).

    Grid points without a body are NaN and invalid. Use as a context manager; if it exits with an
    exception, nothing is written.

    Attributes:
        frames: number on the grid so far.
        left_out: number of bodies whose timestamp was not later than the previous one.
        first, last: ns, timestamps of the first and the last body.
    """

    def __init__(self, path: str | Path, fps: float, options: str = "") -> None:
        """Set the output file; its columns are buffered in a folder next to it.

        ``options`` are those with which the motion is made, kept as the array ``options`` unless
        empty.
        """
        self._path = Path(path)
        self._fps = fps
        self._options = options
        self.frames = self.left_out = 0
        self.first = self.last = 0
        self._block = np.zeros(_BLOCK, _ROW)
        self._filled = 0
        self._covariance = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self._path.parent, prefix=f".{self._path.name}."))
        self._columns: dict[str, BinaryIO] = {
            name: (self._folder / name).open("w+b") for name in _ROW.names or ()
        }

    def add(self, body: BodyFrame) -> None:
        """Append a body.

        Raises:
            PallasError: it is more than `LONGEST_GAP_S` later than the previous one.
        """
        if not self.frames:
            self.first = body.stamp
        index = round((body.stamp - self.first) * self._fps * 1e-9)
        if self.frames and index < self.frames:
            self.left_out += 1
            return
        if index - self.frames > LONGEST_GAP_S * self._fps:
            gap = (body.stamp - self.last) * 1e-9
            raise PallasError(
                f"{self._path}: the recording's stamps jump by {gap:.0f} s after {self.frames}"
                " frames; cut it there"
            )
        while self.frames < index:
            row = self._row()
            for name in ("positions", "rotations", "position_covariance"):
                row[name] = np.nan
            row["confidence"] = 0.0
            row["contacts"] = 0.0
            row["valid"] = False
            row["stamp_ns"] = round(self.first + self.frames * 1e9 / self._fps)
            self.frames += 1
        row = self._row()
        row["stamp_ns"] = body.stamp
        row["valid"] = True
        row["positions"] = body.positions
        row["rotations"] = body.rotations
        row["confidence"] = body.confidence
        row["contacts"] = body.contacts
        self._covariance &= body.covariance is not None
        if body.covariance is not None:
            row["position_covariance"] = body.covariance
        self.frames += 1
        self.last = body.stamp

    def __enter__(self) -> "MotionWriter":
        """Return the writer itself."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Write the file if there was no exception and there is a frame, and remove the buffers."""
        try:
            if kind is None and self.frames:
                self._flush()
                self._write()
        finally:
            for column in self._columns.values():
                column.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _row(self) -> np.void:
        if self._filled == _BLOCK:
            self._flush()
        self._filled += 1
        return self._block[self._filled - 1]  # type: ignore[no-any-return]

    def _flush(self) -> None:
        for name, column in self._columns.items():
            column.write(np.ascontiguousarray(self._block[name][: self._filled]).tobytes())
        self._filled = 0

    def _write(self) -> None:
        temporary = self._folder / "motion.npz"
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            constants: dict[str, NDArray[np.generic]] = {
                "fps": np.array(float(self._fps)),
                "joint_names": np.array(JOINTS),
            }
            if self._options:
                constants["options"] = np.array(self._options)
            for name, value in constants.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                    npy.write_array(file, value, allow_pickle=False)
            for name, column in self._columns.items():
                if name != "position_covariance" or self._covariance:
                    self._copy(archive, name, column)
        os.chmod(temporary, 0o644)
        os.replace(temporary, self._path)

    def _copy(self, archive: zipfile.ZipFile, name: str, column: BinaryIO) -> None:
        field = _ROW[name]
        shape = (self.frames, *field.shape)
        # without a date: the same frames give the same bytes
        entry = zipfile.ZipInfo(f"{name}.npy")
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as file:
            npy.write_array_header_1_0(
                file,
                {"descr": npy.dtype_to_descr(field.base), "fortran_order": False, "shape": shape},
            )
            column.seek(0)
            shutil.copyfileobj(column, file, _COPY_BYTES)
