"""The one folder in which callers of the service ``~/calibrate`` read and write calibrations:
anybody on the network may call it.
"""

from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.imu.calibration import Calibration

SUFFIX = ".yaml"
_NAME_LIMIT = 100


class CalibrationFolder:
    """Calibration files by name, in one folder and nowhere else.

    Attributes:
        path: the folder; made when the first file is saved.
        overwrite: whether a file that is there may be replaced.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        """``path`` may begin with ``~``."""
        self.path = Path(path).expanduser()
        self.overwrite = overwrite

    def find(self, name: str) -> Path:
        """The file of that name; its whole path may be given as well.

        Raises:
            PallasError: it would lie elsewhere, is a link, or is not called ``….yaml``.
        """
        shown = name[:80]
        path = self.path / name.replace("\0", "/")  # an absolute path stays what it is
        if path.parent.resolve() != self.path.resolve() or path.is_symlink():
            raise PallasError(
                f"'{shown}': calibrations are read and saved in {self.path} only: give a file name "
                "without folder, or set parameter 'calibration_folder'"
            )
        if path.suffix != SUFFIX or path.name.startswith(".") or len(path.name) > _NAME_LIMIT:
            raise PallasError(
                f"'{shown}': give a file name that ends in {SUFFIX}, of {_NAME_LIMIT} letters at"
                " most"
            )
        return path

    def check_free(self, name: str) -> None:
        """Refuse a name before anyone stands still for it.

        Raises:
            PallasError: as `find`, or the file is there and may not be replaced.
        """
        if not self.overwrite and self.find(name).exists():
            raise PallasError(
                f"{self.find(name)} is there already: give another name, remove it, or set"
                " parameter 'overwrite_calibrations'"
            )

    def load(self, name: str) -> Calibration:
        """Read a calibration.

        Raises:
            PallasError: as `find` and `Calibration.load`.
        """
        return Calibration.load(self.find(name))

    def save(self, calibration: Calibration, name: str) -> Path:
        """Write a calibration, whole or not at all.

        Raises:
            PallasError: as `check_free`, or the folder cannot be written to.
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
