"""Find the recordings in a folder."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pallas_ros.bags.paths import SUFFIXES, is_bag
from pallas_ros.body.errors import PallasError

MOTION_SUFFIXES = (".npz", ".bvh", ".mvnx", ".c3d", ".trc")
_PART = re.compile(r"(.+)_\d+")
"""Name of a part of a bag, as rosbag2 counts them."""


def find_bags(path: Path) -> list[Path]:
    """Return ``path`` if it is a bag itself, else the bags below it.

    Raises:
        PallasError: there is none.
    """
    if not path.is_dir() or is_bag_folder(path):
        return [path]
    bags = sorted(_below(path, ()))
    if not bags:
        raise PallasError(f"{path}: contains no bag")
    return bags


def find_recordings(path: Path, suffixes: tuple[str, ...] = MOTION_SUFFIXES) -> list[Path]:
    """Return ``path`` if it is a bag or a file itself, else the bags and the motion files below it.

    Hidden files and folders and other files in a bag's folder are skipped.

    Raises:
        PallasError: there are none.
    """
    if not path.exists():
        raise PallasError(f"{path}: no such file or folder; give motion files, bags or folders")
    if not path.is_dir() or is_bag_folder(path):
        return [path]
    found = sorted(_below(path, suffixes))
    if not found:
        raise PallasError(f"{path}: contains no bag and no motion file")
    return found


def _below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Walk without following links, so that a link to a parent cannot cause a loop."""
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if here != folder and is_bag_folder(here):
            folders.clear()
            yield here
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = here / name
            loose_bag = path.suffix.lower() in SUFFIXES and is_bag(path)
            if not name.startswith(".") and (path.suffix.lower() in suffixes or loose_bag):
                yield path


def is_bag_folder(path: Path) -> bool:
    """Whether a folder is a single bag instead of a collection of recordings.

    It is one if it contains a bag's ``metadata.yaml``, if its files are numbered as parts of one
    recording (``NAME_0.mcap``), or if it contains only one bag file.
    """
    files = [file for kind in ("*.mcap", "*.db3") for file in path.glob(kind)]
    if not files or (path / "metadata.yaml").is_file():
        return bool(files)
    parts = [_PART.fullmatch(file.stem) for file in files]
    if all(parts) and len({part[1] for part in parts if part}) == 1:
        return True
    beside = [file for file in path.iterdir() if not file.name.startswith(".")]
    return len(files) == 1 and not any(
        file.is_dir() or file.suffix.lower() in MOTION_SUFFIXES for file in beside
    )


def is_newer(made: Path, source: Path, others: Iterable[Path] = ()) -> bool:
    """Whether ``made`` exists and is newer than each file of ``source`` and than ``others``."""
    if not made.is_file():
        return False
    files = [source, *source.iterdir()] if source.is_dir() else [source]
    files += others
    changed = [stamp for path in files if (stamp := _changed_ns(path)) is not None]
    return bool(changed) and made.stat().st_mtime_ns >= max(changed)


def _changed_ns(path: Path) -> int | None:
    """Time of the last change, ns; None if there is no such file, as behind a dangling link."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
