"""Giving a bag that was cut short what its writer could not write any more: the index and ``metadata.yaml``."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pallas_ros.bags.reader import Bag
from pallas_ros.bags.types import message_definition
from pallas_ros.bags.writer import BagWriter, Channel, Storage
from pallas_ros.body.errors import PallasError


@dataclass(frozen=True)
class Repaired:
    """What `repair` found: the messages kept, the seconds they span, and what was wrong."""

    messages: int
    duration: float
    damage: str


def repair(path: str | Path, progress: Callable[[int], None] = lambda count: None) -> Repaired:
    """Rewrite the bag folder ``path`` so that every tool opens it; the folder changes only once all is written.

    Nothing is done to a bag that is whole. ``progress`` is called with the number of messages copied.

    Raises:
        PallasError: there is no bag folder there, nothing in it can be read, or the disk is full.
    """
    path = Path(path)
    bag = Bag(path)
    if not path.is_dir():
        raise PallasError(f"{path}: give the bag's folder, not a file in it")
    if not bag.damage and (path / "metadata.yaml").is_file():
        return Repaired(bag.count, bag.duration, "")
    if not bag.count:
        raise PallasError(f"{path}: not one whole message is in it, so there is nothing to restore")
    damage = bag.damage or "metadata.yaml was missing"
    storage: Storage = "mcap" if bag.files[0].suffix == ".mcap" else "sqlite3"
    folder = Path(tempfile.mkdtemp(dir=path.resolve().parent, prefix=f".{path.name}.repair."))
    try:
        new = folder / path.resolve().name
        with BagWriter(new, storage=storage) as writer:
            for topic in bag.topics.values():
                definition, type_hash = (
                    (topic.definition, topic.type_hash)
                    if topic.definition
                    else message_definition(topic.msgtype)
                )
                writer.add_channel(
                    Channel(topic.name, topic.msgtype, topic.qos, definition, type_hash)
                )
            for message in bag.messages():
                writer.write(message.topic, message.stamp, message.data)
                if writer.count % 1000 == 0:
                    progress(writer.count)
        kept = writer.count
        old = folder / "damaged"
        os.rename(path, old)
        os.rename(new, path)
    except (OSError, sqlite3.Error) as error:
        raise PallasError(f"{path}: cannot be repaired: {error}") from None
    finally:
        if path.exists():
            shutil.rmtree(folder, ignore_errors=True)
    return Repaired(kept, bag.duration, damage)
