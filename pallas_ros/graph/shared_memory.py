"""Fast DDS's files in shared memory: find and remove files that no process uses any more."""

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_YOUNG_S = 3.0  # a new segment may not be locked yet
_PROCESSES = Path("/proc")


def clean_shared_memory(folder: Path = SHARED_MEMORY) -> int:
    """Remove Fast DDS shared memory of this user's killed processes; return the file count.

    Each segment and port has a lock file (``…_el``) that its owner holds while alive; one that can
    be locked has no owner.
    """
    removed = 0
    for guard in folder.glob("fastdds_*_el"):
        with suppress(OSError):
            status = guard.stat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime >= _YOUNG_S:
                removed += _remove_unlocked(guard.with_name(guard.name.removesuffix("_el")))
    return removed


def mapped_files(processes: Iterable[int], folder: Path = SHARED_MEMORY) -> set[Path]:
    """Return the Fast DDS files mapped by ``processes``; ended processes have none."""
    found: set[Path] = set()
    for process in processes:
        with suppress(OSError):
            words = (_PROCESSES / str(process) / "maps").read_text().split()
            found.update(Path(word) for word in words if word.startswith(f"{folder}/fastdds_"))
    return found


def remove_abandoned(files: Iterable[Path], folder: Path = SHARED_MEMORY) -> int:
    """Remove those of ``files`` that no process uses; return the file count.

    A participant that writes to the port of one that has just ended recreates the port without an
    owner, so it remains (observed in 1 of 44 shutdowns of a graph).
    """
    running = [int(path.name) for path in _PROCESSES.iterdir() if path.name.isdigit()]
    used = mapped_files(running, folder)
    removed = 0
    for path in set(files) - used:
        with suppress(OSError):
            removed += _remove_unlocked(path)
    return removed


def _remove_unlocked(segment: Path) -> int:
    """Remove a segment or port with its lock file and mutex, unless its owner is alive.

    Raises:
        OSError: the owner is alive, or the files belong to another user.
    """
    guard = segment.with_name(f"{segment.name}_el")
    removed = 0
    with guard.open("r+") if guard.exists() else nullcontext() as file:
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in (segment, segment.with_name(f"sem.{segment.name}_mutex"), guard):
            if path.exists():
                path.unlink()
                removed += 1
    return removed
