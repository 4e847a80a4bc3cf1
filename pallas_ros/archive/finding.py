"""Find the recordings in a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from pallas_ros.bags.paths import SUFFIXES, is_bag
from pallas_ros.body.errors import PallasError

MOTION_SUFFIXES = (".npz", ".bvh", ".mvnx", ".c3d", ".trc")


def find_bags(path: Path) -> list[Path]:
    """Return ``path`` if it is a bag itself, else the bags below it.

    Raises:
        PallasError: there is none.
    """
    if not path.is_dir() or is_bag_folder(path):
        return [path]
    found = {file.parent for kind in ("*/**/*.mcap", "*/**/*.db3") for file in path.glob(kind)}
    # without the bags inside a bag
    bags = sorted(bag for bag in found if found.isdisjoint(bag.parents))
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
    """Whether a folder contains the files of a bag."""
    return any(path.glob("*.mcap")) or any(path.glob("*.db3"))


def is_newer(made: Path, source: Path) -> bool:
    """Whether ``made`` exists and no file of ``source`` was changed since."""
    if not made.is_file():
        return False
    files = [source, *source.iterdir()] if source.is_dir() else [source]
    return made.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in files)
