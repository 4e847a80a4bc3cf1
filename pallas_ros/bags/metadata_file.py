"""What is needed of rosbag2's ``metadata.yaml``: which files there should be, and whether they are
compressed.

Read line by line and not as YAML, which takes seconds for a megabyte and memory without end where
its author is hostile.
"""

import re
from dataclasses import dataclass
from pathlib import Path

NAME = "metadata.yaml"
_LIMIT = 1 << 22
"""Bytes; a bag of a thousand topics has 700 kB."""
_MODE = re.compile(r"^\s*compression_mode:\s*[\"']?(\w{0,40})", re.MULTILINE)
_COUNT = re.compile(r"^  message_count:\s*(\d{1,18})\s*$", re.MULTILINE)
_FILES = re.compile(
    r"^\s*relative_file_paths:[^\S\n]*\n((?:[^\S\n]*-[^\S\n]+[^\n]*(?:\n|\Z))*)", re.MULTILINE
)


@dataclass(frozen=True)
class Metadata:
    """Of a bag's metadata: the files it names, its messages (None: it does not say), and ``file``,
    ``message`` or nothing.
    """

    files: tuple[str, ...] = ()
    count: int | None = None
    compression_mode: str = ""


def read_metadata(folder: Path) -> Metadata | None:
    """The metadata of a bag folder; None where there is none that can be read."""
    try:
        with (folder / NAME).open("rb") as file:
            text = file.read(_LIMIT).decode()
    except (OSError, ValueError):
        return None
    if "rosbag2_bagfile_information:" not in text:
        return None
    files = _FILES.search(text)
    count = _COUNT.search(text)
    mode = _MODE.search(text)
    names = [] if files is None else files[1].split("\n")
    return Metadata(
        tuple(name.split("-", 1)[1].strip().strip("\"'") for name in names if "-" in name),
        None if count is None else int(count[1]),
        "" if mode is None else mode[1].lower(),
    )
