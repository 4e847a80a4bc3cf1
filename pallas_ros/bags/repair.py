"""Repair a damaged bag for other tools: valid files, index and ``metadata.yaml``.

The damaged bag is kept.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pallas_ros.bags.metadata_file import NAME, read_metadata
from pallas_ros.bags.reader import Bag
from pallas_ros.bags.storage import Channel, Storage
from pallas_ros.bags.types import BagTopic, message_definition
from pallas_ros.bags.writer import BagWriter, Extent, write_metadata
from pallas_ros.body.errors import PallasError

ORIGINAL = "original"
"""Folder in the repaired bag with its previous contents."""


@dataclass(frozen=True)
class Repaired:
    """Result of `repair`: messages kept, their duration in s, the damage, and the folder of the
    damaged files.
    """

    messages: int
    duration: float
    damage: str
    original: Path | None = None


def repair(path: str | Path, progress: Callable[[int], None] = lambda count: None) -> Repaired:
    """Check every byte of the bag folder ``path``; if it is damaged, rewrite the intact data.

    The folder changes only after everything is written; its previous contents are kept in its
    folder `ORIGINAL`. An intact bag is not changed. ``progress`` is called with the message count.

    Raises:
        PallasError: there is no bag folder, nothing in it can be read, or the disk is full.
    """
    path = Path(path)
    bag = Bag(path)
    if not path.is_dir():
        raise PallasError(f"{path}: give the folder of the bag, not a file in it")
    try:
        damage = bag.damage or bag.check(progress)
        if damage:
            return _rewrite(bag, progress)
        wrong = _wrong_metadata(bag)
        if wrong:
            return _describe(bag, wrong)
    except (OSError, sqlite3.Error) as error:
        raise PallasError(f"{path}: cannot be repaired: {error}") from None
    return Repaired(bag.count, bag.duration, "")


def _wrong_metadata(bag: Bag) -> str:
    """Describe errors in the metadata of a bag with intact files; empty if there are none."""
    metadata = read_metadata(bag.path)
    if metadata is None:
        there = (bag.path / NAME).exists()
        return f"{NAME} was damaged" if there else f"{NAME} was missing"
    names = [file.name for file in bag.files]
    if not bag.encodings and metadata.count not in (None, bag.count):
        return f"{NAME} stated {metadata.count} messages, but there are {bag.count}"
    if sorted(metadata.files) != sorted(names):
        return f"{NAME} named other files"
    return ""


def _describe(bag: Bag, wrong: str) -> Repaired:
    """Write the metadata of a bag with intact files."""
    if (bag.path / NAME).exists():
        original = _free_name(bag.path)
        original.mkdir()
        shutil.copy2(bag.path / NAME, original / NAME, follow_symlinks=False)
    else:
        original = None
    channels = [channel_of(topic) for topic in bag.topics.values()]
    extents = [Extent(name, first, last, count) for name, first, last, count in bag.extents()]
    write_metadata(bag.path, storage_of(bag), channels, extents)
    return Repaired(bag.count, bag.duration, wrong, original)


def _rewrite(bag: Bag, progress: Callable[[int], None]) -> Repaired:
    """Copy every readable message to new files, and replace the damaged ones."""
    path = bag.path
    original = _free_name(path)
    folder = Path(tempfile.mkdtemp(dir=path.resolve().parent, prefix=f".{path.resolve().name}."))
    new = folder / path.resolve().name
    aside = new / original.name
    try:
        with BagWriter(new, storage=storage_of(bag)) as writer:
            for topic in bag.topics.values():
                writer.add_channel(channel_of(topic))
            for message in bag.messages():
                writer.write(message.topic, message.stamp, message.data)
                if writer.count % 1000 == 0:
                    progress(writer.count)
        if not writer.count:
            raise PallasError(
                f"{path}: it contains no intact message, so there is nothing to restore"
            )
        _replace(path, new, aside)
    finally:
        if not os.path.lexists(aside):  # else the only copy
            shutil.rmtree(folder, ignore_errors=True)
    damage = bag.damage  # complete now that everything was read
    if bag.encodings:
        damage += (
            f"; {len(bag.encodings)} topics without ROS 2 messages remain in the original only"
        )
    return Repaired(writer.count, (writer.last - writer.first) / 1e9, damage, original)


def _replace(path: Path, new: Path, aside: Path) -> None:
    """Put the folder ``new`` in the place of ``path``, and that at ``aside``, which is in ``new``.

    Raises:
        PallasError: neither is in place; it says where the bag is.
    """
    try:
        os.rename(path, aside)
        os.rename(new, path)
    except BaseException as error:  # also Ctrl-C
        if not os.path.lexists(aside):
            raise
        try:
            os.rename(aside, path)
        except OSError as failed:
            raise PallasError(
                f"{path}: cannot be replaced ({error}) nor put back ({failed}): the bag is now"
                f" {aside}, move it back"
            ) from error
        raise


def storage_of(bag: Bag) -> Storage:
    """Return the storage type of a bag."""
    return "mcap" if bag.files[0].suffix == ".mcap" else "sqlite3"


def channel_of(topic: BagTopic) -> Channel:
    """Convert a topic of a bag to a channel for writing, with its definition if available."""
    definition = topic.definition
    type_hash = topic.type_hash
    if not definition:
        with contextlib.suppress(PallasError):  # without one it can still be played
            definition, type_hash = message_definition(topic.msgtype)
    return Channel(topic.name, topic.msgtype, topic.qos, definition, type_hash, topic.count)


def _free_name(folder: Path) -> Path:
    """Return `ORIGINAL` in ``folder``, with a number appended if it exists."""
    names = [ORIGINAL, *(f"{ORIGINAL}_{number}" for number in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())
