"""Locate data files: `config`, `models`, `urdf`, `launch`."""

import os
import sys
from pathlib import Path

from pallas_ros.core.errors import PallasError


def share() -> Path:
    """Return the folder that contains `config`, `models`, `urdf` and `launch`.

    Searched in order: ``$PALLAS_SHARE``; the checkout of this module; `share/pallas` of a colcon
    installation (``$AMENT_PREFIX_PATH``); `share/pallas` of the Python environment.

    Raises:
        PallasError: there is none.
    """
    candidates = [Path(__file__).resolve().parents[2]]
    candidates += [
        Path(prefix) / "share" / "pallas"
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    ]
    candidates.append(Path(sys.prefix) / "share" / "pallas")
    if chosen := os.environ.get("PALLAS_SHARE"):
        candidates.insert(0, Path(chosen))
    for candidate in candidates:
        if (candidate / "config").is_dir():
            return candidate
    raise PallasError(
        "the configuration of pallas was not found: install the package again, or set"
        " PALLAS_SHARE to the folder that contains config/"
    )


def expanded(path: str | Path) -> Path:
    """Return ``path`` with a leading ``~`` or ``~user`` replaced by the home folder.

    Raises:
        PallasError: the home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PallasError(
            f"{path}: the home folder of '{Path(path).parts[0]}' is unknown; give the whole path"
        ) from None


def resource(path: str | Path) -> Path:
    """Return ``path`` if it exists or is absolute, else the file of that name below `share()`.

    Raises:
        PallasError: neither exists.
    """
    path = expanded(path)
    # os.path.exists, unlike Path.exists, returns False for invalid names instead of raising
    if path.is_absolute() or os.path.exists(path):
        found = path
    else:
        found = share() / path
    if not os.path.exists(found):
        raise PallasError(f"{path}: no such file, neither here nor in {share()}")
    return found


def cache_folder() -> Path:
    """Return the cache of imported and converted files: ``$XDG_CACHE_HOME/pallas`` or
    ``~/.cache/pallas``.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or expanded("~/.cache")) / "pallas"
