"""Refuse to write an output over a command's own input, or over a released model."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pallas_ros.core.errors import PallasError
from pallas_ros.core.resources import share

Name = str | Path | None
File = tuple[int, int]
_STORAGE = (".mcap", ".db3", ".zstd")


def check_outputs(outputs: Iterable[Name], inputs: Iterable[Name]) -> None:
    """Reject an output that is the same file as an input, also through links, or a file of a bag.

    None is ignored.

    Raises:
        PallasError: an output is an input.
    """
    read = {file for name in inputs if name is not None and (file := _file(name)) is not None}
    for output in outputs:
        if output is not None and read.intersection(_overwritten(Path(output))):
            raise PallasError(
                f"{output}: is an input of this command and would be overwritten; give another name"
            )


def check_released(outputs: Iterable[Name]) -> None:
    """Reject an output that is a file of the released models, or their folder, also through links.

    None is ignored.

    Raises:
        PallasError: an output belongs to the released models.
    """
    models = share() / "models"
    folder = _file(models)
    released = {_file(path) for path in models.rglob("*")} - {None}
    for output in outputs:
        file = None if output is None else _file(output)
        if file is not None and file == folder:
            raise PallasError(
                f"{output}: is the folder of the released models, which would be overwritten; give"
                " another folder"
            )
        if file in released:
            raise PallasError(
                f"{output}: is a released file and would be overwritten; give another name, or"
                " remove it"
            )


def _overwritten(output: Path) -> Iterator[File]:
    """The existing file, and the bag it belongs to."""
    file = _file(output)
    if file is None:
        return
    yield file
    folder = _file(output.parent)
    is_of_bag = output.suffix in _STORAGE or output.name == "metadata.yaml"
    if is_of_bag and folder is not None:
        yield folder


def _file(name: str | Path) -> File | None:
    """Identify a file or folder; None if it does not exist."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
