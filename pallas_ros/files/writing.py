"""Write files completely or not at all."""

import os
import tempfile
from pathlib import Path

from pallas_ros.core.errors import PallasError


def save_text(path: Path, text: str) -> None:
    """Write a text file atomically: to a temporary file next to it, then renamed.

    Raises:
        PallasError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:  # also Ctrl-C
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PallasError(f"{path}: cannot be written: {error.strerror}") from None
