"""Write rosbag2 folders so that a crash or power cut loses only the most recent messages."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pallas_ros.bags.storage import (
    SUFFIX,
    Channel,
    Compression,
    Storage,
    StorageWriter,
    create,
    sync_folder,
)
from pallas_ros.bags.types import Qos, message_definition
from pallas_ros.body.errors import PallasError

METADATA_VERSION = 8  # newest version whose QoS text Humble can read


@dataclass
class Extent:
    """Extent of a file or bag: timestamps in ns of first and last message, message count."""

    path: str
    first: int = 0
    last: int = 0
    count: int = 0

    def add(self, stamp: int) -> None:
        """Count a message received at ``stamp`` ns."""
        self.first = stamp if not self.count else min(self.first, stamp)
        self.last = max(self.last, stamp)
        self.count += 1

    def metadata(self) -> dict[str, Any]:
        """Return the extent in the form of ``metadata.yaml``."""
        return {
            "starting_time": {"nanoseconds_since_epoch": self.first},
            "duration": {"nanoseconds": max(self.last - self.first, 0)},
            "message_count": self.count,
        }


@dataclass
class BagWriter:
    """Write a rosbag2 folder.

    Use as a context manager, or call `close`: it writes the index and ``metadata.yaml``. A bag
    whose writer was killed lacks those two and the last ``flush_every`` seconds; after a power cut,
    the last ``sync_every`` seconds plus the time of the disk write. `Bag` reads it as it is,
    `pallas_ros.bags.repair` restores it for other tools.

    If the disk is full or was removed, the method that notices raises and the bag is closed without
    an index: it contains the `count` messages that were in the file by then, and no partial data
    after them.

    Attributes:
        path: the folder, which must not exist or be empty.
        storage: ``mcap`` or ``sqlite3``.
        compression: of MCAP chunks; sqlite3 files have none.
        split_bytes: start a new file at this size; 0: never.
        split_seconds: start a new file after this duration, by the messages' timestamps; 0: never.
        flush_every: s between flushes to the operating system, checked when a message is written
            (monotonic clock).
        sync_every: s between syncs to disk; at least ``flush_every``.
    """

    path: Path
    storage: Storage = "mcap"
    compression: Compression = "lz4"
    split_bytes: int = 0
    split_seconds: float = 0.0
    flush_every: float = 0.5
    sync_every: float = 1.0
    failure: str = field(default="", init=False)
    _channels: dict[str, Channel] = field(default_factory=dict, init=False)
    _handles: dict[str, int] = field(default_factory=dict, init=False)
    _extents: list[Extent] = field(default_factory=list, init=False)
    _file: StorageWriter | None = field(default=None, init=False)
    _last_flush: float = field(default=0.0, init=False)
    _last_sync: float = field(default=0.0, init=False)
    _safe: tuple[Extent, dict[str, int]] = field(default=(Extent(""), {}), init=False)

    def __post_init__(self) -> None:
        """Create the folder and its first file.

        Raises:
            PallasError: the folder is not empty, or not writable.
        """
        self.path = Path(self.path)
        if self.storage not in SUFFIX or self.compression not in ("none", "lz4", "zstd"):
            raise PallasError(
                f"bag storage '{self.storage}' with compression '{self.compression}': choose mcap"
                " or sqlite3, and none, lz4 or zstd"
            )
        if self.storage == "sqlite3":
            self.compression = "none"  # rosbag2 does not support compression within sqlite3
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise PallasError(f"{self.path}: not empty; record to another folder or remove it")
            self._open_file()
        except (OSError, sqlite3.Error) as error:
            raise PallasError(f"{self.path}: cannot record there: {error}") from None

    @property
    def count(self) -> int:
        """Number of messages written so far; after a `failure`, those that are in the files."""
        return sum(extent.count for extent in self._extents)

    @property
    def topics(self) -> dict[str, int]:
        """Topics and their numbers of messages written."""
        return {name: channel.count for name, channel in self._channels.items()}

    @property
    def first(self) -> int:
        """Timestamp of the first message, ns; 0 if there is none."""
        return min((extent.first for extent in self._extents if extent.count), default=0)

    @property
    def last(self) -> int:
        """Timestamp of the last message, ns; 0 if there is none."""
        return max((extent.last for extent in self._extents if extent.count), default=0)

    def add_topic(self, topic: str, msgtype: str, qos: Qos | None = None) -> None:
        """Declare a topic before its first message; repeating it with the same type has no effect.

        Raises:
            PallasError: the type's definition is not available, the topic has a different type, or
                the disk is full.
        """
        known = self._channels.get(topic)
        if known is not None:
            if known.msgtype != msgtype:
                raise PallasError(
                    f"topic {topic} has type {known.msgtype} in this bag, so {msgtype} cannot be"
                    " written to it"
                )
            return
        definition, type_hash = message_definition(msgtype)
        self.add_channel(Channel(topic, msgtype, qos or Qos(), definition, type_hash))

    def add_channel(self, channel: Channel) -> None:
        """Declare a topic with a known definition (when copying from another bag)."""
        with self._failing() as file:
            self._channels[channel.topic] = replace(channel, count=0)
            self._handles[channel.topic] = file.add(channel)

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """Append a serialised (CDR) message received at ``stamp`` ns.

        Raises:
            PallasError: the disk is full, or the bag was closed.
        """
        with self._failing() as file:
            extent = self._extents[-1]
            if extent.count and self._full(file, extent, stamp):
                self._close_file(file)
                file = self._open_file()
                extent = self._extents[-1]
            file.write(self._handles[topic], stamp, data)
            extent.add(stamp)
            self._channels[topic].count += 1
            if file.settled:
                self._settle()
        self.flush_if_due()

    @property
    def closed(self) -> bool:
        """Whether the bag was closed, or writing failed."""
        return self._file is None

    def flush_if_due(self) -> None:
        """Flush if ``flush_every`` seconds have passed; for periods without messages."""
        if self._file is not None and time.monotonic() - self._last_flush >= self.flush_every:
            self.flush()

    def flush(self) -> None:
        """Pass all data to the operating system, and sync it to disk every ``sync_every`` seconds.

        Raises:
            PallasError: the disk is full.
        """
        if self._file is None:
            return
        with self._failing() as file:
            now = time.monotonic()
            sync = now - self._last_sync >= self.sync_every
            if sync or not file.settled:
                file.flush(sync)
                self._settle()
            self._last_flush = now
            self._last_sync = now if sync else self._last_sync

    def close(self) -> None:
        """Finish the file and write ``metadata.yaml``; repeated calls have no effect.

        Raises:
            PallasError: the disk is full; the recorded data is kept, without an index.
        """
        if self._file is not None:
            with self._failing() as file:
                self._close_file(file)
                self._file = None

    def __enter__(self) -> "BagWriter":
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close in any case; the recorded data is kept."""
        self.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[StorageWriter]:
        """Yield the open file; if writing fails, restore the last settled state of the bag."""
        if self._file is None:
            raise PallasError(self.failure or f"{self.path}: the bag is closed")
        try:
            yield self._file
        except (OSError, sqlite3.Error) as error:
            file = self._file
            self._file = None
            file.abandon()
            extent, counts = self._safe
            lost = self.count
            self._extents[-1] = extent
            for topic, channel in self._channels.items():
                channel.count = counts.get(topic, 0)
            lost -= self.count
            self.failure = (
                f"{self.path}: recording stopped: {_reason(error)}; {self.count} messages are in"
                " the bag"
                + (f", the last {lost} are not" if lost else "")
                + "; free disk space, then run `pallas repair` to write its index"
            )
            raise PallasError(self.failure) from None

    def _settle(self) -> None:
        """Store the settled state of the file."""
        self._safe = (replace(self._extents[-1]), self.topics)

    def _full(self, file: StorageWriter, extent: Extent, stamp: int) -> bool:
        return bool(
            (self.split_bytes and file.size() >= self.split_bytes)
            or (self.split_seconds and stamp - extent.first >= self.split_seconds * 1e9)
        )

    def _open_file(self) -> StorageWriter:
        name = f"{self.path.resolve().name}_{len(self._extents)}{SUFFIX[self.storage]}"
        file = create(self.storage, self.path / name, self.compression)
        self._file = file
        self._extents.append(Extent(name))
        self._settle()
        self._handles = {topic: file.add(channel) for topic, channel in self._channels.items()}
        self._last_flush = self._last_sync = time.monotonic()
        return file

    def _close_file(self, file: StorageWriter) -> None:
        file.flush(sync=False)
        self._settle()
        file.close()
        write_metadata(self.path, self.storage, list(self._channels.values()), self._extents)


def _reason(error: OSError | sqlite3.Error) -> str:
    """Return the operating system's error message, without the file name."""
    return str(getattr(error, "strerror", None) or error)


def write_metadata(
    folder: Path, storage: str, channels: list[Channel], extents: list[Extent]
) -> None:
    """Write rosbag2's ``metadata.yaml`` atomically."""
    filled = [extent for extent in extents if extent.count]
    whole = Extent(
        "",
        min((e.first for e in filled), default=0),
        max((e.last for e in filled), default=0),
        sum(e.count for e in filled),
    )
    information = {
        "version": METADATA_VERSION,
        "storage_identifier": storage,
        **whole.metadata(),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": channel.topic,
                    "type": channel.msgtype,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": channel.qos.dump(),
                    "type_description_hash": channel.type_hash,
                },
                "message_count": channel.count,
            }
            for channel in channels
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [extent.path for extent in extents],
        "files": [{"path": extent.path, **extent.metadata()} for extent in extents],
        "custom_data": None,
        "ros_distro": "pallas",
    }
    temporary = folder / ".metadata.yaml.tmp"
    text = yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False)
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / "metadata.yaml")
    sync_folder(folder)
