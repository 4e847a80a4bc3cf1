"""JSON files given with ``--json``: written atomically, and checked before long work."""

import json
import os
from pathlib import Path
from typing import Any

from pallas_ros.core.errors import PallasError


def check_json(path: str | Path | None) -> None:
    """Check that a file can be written, so that long work is not lost; None is valid.

    Raises:
        PallasError: the file cannot be written.
    """
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise PallasError(f"{path} is a folder: give a file with --json")
    partial = _partial(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def write_json(document: Any, path: str | Path) -> None:
    """Write a document atomically.

    Raises:
        PallasError: the file cannot be written.
    """
    path = Path(path)
    partial = _partial(path)
    try:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _unwritable(path: Path, error: OSError) -> PallasError:
    return PallasError(
        f"{path} cannot be written ({error.strerror}): give another path with --json"
    )
