"""Read the file list and the compression from rosbag2's ``metadata.yaml``.

It is read line by line instead of as YAML, which takes seconds for a megabyte and unbounded memory
for a malicious file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.files.opening import ANY_BYTES, open_regular

NAME = "metadata.yaml"
_LIMIT = 1 << 22
"""Maximum bytes read; a bag of a thousand topics has 700 kB."""
# Indentation without newlines: an empty line would be searched for again from each one before it.
_MODE = re.compile(r"^[^\S\n]*compression_mode:\s*[\"']?(\w{0,40})", re.MULTILINE)
_COUNT = re.compile(r"^  message_count:\s*(\d{1,18})\s*$", re.MULTILINE)
_FILES = re.compile(
    r"^[^\S\n]*relative_file_paths:[^\S\n]*\n((?:[^\S\n]*-[^\S\n]+[^\n]*(?:\n|\Z))*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Metadata:
    """Metadata of a bag: file names, number of messages (None: unknown) and compression.

    Compression is ``file``, ``message`` or empty.
    """

    files: tuple[str, ...] = ()
    count: int | None = None
    compression_mode: str = ""


def read_metadata(folder: Path) -> Metadata | None:
    """Read the metadata of a bag folder; None if missing or unreadable."""
    try:
        with open_regular(folder / NAME, "metadata file", ANY_BYTES) as file:
            text = file.read(_LIMIT).decode()
    except (PallasError, ValueError):
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
