"""Refuse to write an output over a command's own input."""

import os
from collections.abc import Iterable
from pathlib import Path

from pallas_ros.core.errors import PallasError

Name = str | Path | None
_OF_BAGS = (".mcap", ".db3", ".yaml", ".zstd")


def check_outputs(outputs: Iterable[Name], inputs: Iterable[Name]) -> None:
    """Reject an output that is the same file as an input, also through links, or a file of a bag.

    None is ignored.

    Raises:
        PallasError: an output is an input.
    """
    read = [name for name in inputs if name is not None]
    for output in outputs:
        if output is not None and any(_same(output, name) for name in read):
            raise PallasError(f"{output}: is also read, and would be overwritten; give another")


def _same(output: str | Path, name: str | Path) -> bool:
    path = Path(output)
    try:
        if path.suffix in _OF_BAGS and path.exists() and os.path.samefile(path.parent, name):
            return True
        return os.path.samefile(path, name)
    except (OSError, ValueError):  # one does not exist
        return False
