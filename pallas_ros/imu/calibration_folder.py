"""The only folder in which clients of the service ``~/calibrate`` can read and write calibrations.

Anybody on the network may call the service.
"""

import os
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import expanded
from pallas_ros.imu.calibration import Calibration

SUFFIX = ".yaml"
_NAME_LIMIT = 100


class CalibrationFolder:
    """Calibration files by name, restricted to one folder.

    Attributes:
        path: the folder; created when the first file is saved.
        overwrite: whether existing files may be replaced.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        """``path`` may start with ``~``."""
        self.path = expanded(path)
        self.overwrite = overwrite

    def find(self, name: str) -> Path:
        """Return the path of the file of that name; a full path is accepted as well.

        Raises:
            PallasError: it is outside the folder, is a link, or is not called ``….yaml``.
        """
        shown = name[:80]
        path = self.path / name.replace("\0", "/")  # an absolute path is kept
        outside = path.parent.resolve() != self.path.resolve()
        if outside or os.path.islink(path):  # unlike Path.is_symlink, takes names of any length
            raise PallasError(
                f"'{shown}': calibrations are read and saved only in {self.path}: give a file name"
                " without a folder, or set parameter 'calibration_folder'"
            )
        if path.suffix != SUFFIX or path.name.startswith(".") or len(path.name) > _NAME_LIMIT:
            raise PallasError(
                f"'{shown}': give a file name that ends in {SUFFIX}, of {_NAME_LIMIT} characters"
                " at most"
            )
        return path

    def check_free(self, name: str) -> None:
        """Check that a name can be written, before the wearer takes the pose.

        Raises:
            PallasError: as `find`, or the file exists and may not be replaced.
        """
        if not self.overwrite and self.find(name).exists():
            raise PallasError(
                f"{self.find(name)} already exists: give another name, remove it, or set parameter"
                " 'overwrite_calibrations'"
            )

    def load(self, name: str) -> Calibration:
        """Read a calibration.

        Raises:
            PallasError: as `find` and `Calibration.load`.
        """
        return Calibration.load(self.find(name))

    def save(self, calibration: Calibration, name: str) -> Path:
        """Write a calibration atomically.

        Raises:
            PallasError: as `check_free`, or the folder is not writable.
        """
        path = self.find(name)
        self.check_free(name)
        try:
            calibration.save(path, overwrite=self.overwrite)
        except FileExistsError:
            self.check_free(name)
            raise
        except OSError as error:
            raise PallasError(f"{path}: cannot be written: {error.strerror}") from None
        return path
