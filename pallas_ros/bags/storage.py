"""Storage files of a bag, MCAP and sqlite3; after a crash each is valid up to the last flush."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mcap.data_stream import RecordBuilder
from mcap.records import Channel as ChannelRecord
from mcap.records import Schema
from mcap.writer import CompressionType, Writer

from pallas_ros.bags.types import Qos

Storage = Literal["mcap", "sqlite3"]
Compression = Literal["none", "lz4", "zstd"]
SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}
_CHUNK_BYTES = 1 << 20


@dataclass
class Channel:
    """A topic of the bag being written."""

    topic: str
    msgtype: str
    qos: Qos
    definition: str
    type_hash: str
    count: int = 0


class StorageWriter(Protocol):
    """One storage file, open for writing.

    Any method may raise OSError or sqlite3.Error if the disk is full or was removed.

    Attributes:
        settled: whether everything written so far is in the file.
    """

    settled: bool

    def add(self, channel: Channel) -> int:
        """Declare a topic and return its handle."""
        ...

    def write(self, handle: int, stamp: int, data: bytes) -> None:
        """Append a message with timestamp ``stamp`` (ns)."""
        ...

    def flush(self, sync: bool) -> None:
        """Pass all data to the operating system; with ``sync``, write it to disk."""
        ...

    def close(self) -> None:
        """Write the index and sync everything to disk."""
        ...

    def abandon(self) -> None:
        """Close without an index after an error; never raises.

        The file contains what was settled and nothing after it.
        """
        ...

    def size(self) -> int:
        """Bytes written so far."""
        ...


def create(storage: Storage, path: Path, compression: Compression) -> StorageWriter:
    """Create a storage file.

    Raises:
        OSError, sqlite3.Error: it exists, or cannot be created.
    """
    return McapWriter(path, compression) if storage == "mcap" else SqliteWriter(path)


class _Sync:
    """`os.fsync` in its own thread, because it may block for too long; one at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def begin(self, action: Callable[[], None]) -> None:
        """Start ``action`` unless the last one is still running; re-raise the last exception."""
        if self._thread is not None and self._thread.is_alive():
            return
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(action,), name="fsync", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the last one and re-raise its exception."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error = self._error
            self._error = None
            raise error

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._error = error


class _File:
    """An unbuffered file: after an error no data remains that would be written later."""

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.position = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            written = os.write(self._number, rest)
            self.position += written
            rest = rest[written:]
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None: ...

    def sync(self) -> None:
        os.fsync(self._number)

    def cut(self, size: int) -> None:
        os.ftruncate(self._number, size)

    def close(self) -> None:
        os.close(self._number)


class McapWriter:
    """MCAP with the profile ``ros2``, in chunks that end at every flush.

    Each topic is described twice, outside of the chunks and in the first of them, so that no single
    damaged region can make the messages of an unclosed file unreadable.
    """

    def __init__(self, path: Path, compression: Compression) -> None:
        """Create the file with a valid header."""
        kind = {
            "none": CompressionType.NONE,
            "lz4": CompressionType.LZ4,
            "zstd": CompressionType.ZSTD,
        }[compression]
        self._file = _File(path)
        self._sync = _Sync()
        self._writer = Writer(self._file, chunk_size=_CHUNK_BYTES, compression=kind)  # type: ignore[arg-type]
        self._schemas: dict[str, int] = {}
        self.settled = True
        self._safe = 0
        self._writer.start(profile="ros2")
        self._settle()
        self._file.sync()
        sync_folder(path.parent)

    def add(self, channel: Channel) -> int:
        """See `StorageWriter`."""
        builder = RecordBuilder()
        schema = self._schemas.get(channel.msgtype)
        if schema is None:
            text = channel.definition.encode()
            schema = self._writer.register_schema(channel.msgtype, "ros2msg", text)
            self._schemas[channel.msgtype] = schema
            Schema(schema, text, "ros2msg", channel.msgtype).write(builder)
        metadata = {
            "offered_qos_profiles": channel.qos.dump(),
            "topic_type_hash": channel.type_hash,
        }
        handle = self._writer.register_channel(channel.topic, "cdr", schema, metadata)
        ChannelRecord(handle, channel.topic, "cdr", metadata, schema).write(builder)
        self._file.write(builder.end())  # type: ignore[no-untyped-call]
        if self.settled:
            self._safe = self._file.position
        return handle

    def write(self, handle: int, stamp: int, data: bytes) -> None:
        """See `StorageWriter`."""
        before = self._file.position
        self.settled = False
        self._writer.add_message(handle, stamp, data, stamp)
        if self._file.position != before:  # the chunk is full
            self._settle()

    def flush(self, sync: bool) -> None:
        """See `StorageWriter`."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._settle()
        if sync:
            self._sync.begin(self._file.sync)

    def size(self) -> int:
        """See `StorageWriter`."""
        return self._file.position

    def close(self) -> None:
        """See `StorageWriter`."""
        self.flush(sync=False)
        self._sync.wait()
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.sync()
        self._file.close()

    def abandon(self) -> None:
        """See `StorageWriter`."""
        with contextlib.suppress(OSError):
            self._sync.wait()
        with contextlib.suppress(OSError):
            self._file.cut(self._safe)
            self._file.sync()
        with contextlib.suppress(OSError):
            self._file.close()

    def _settle(self) -> None:
        self.settled = True
        self._safe = self._file.position


class SqliteWriter:
    """rosbag2's sqlite3 schema, version 4, with a write-ahead log, so that commits survive a
    crash.
    """

    _SCHEMA = """
    PRAGMA journal_mode=WAL;
    PRAGMA synchronous=NORMAL;
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
                        offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
                                     encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
    INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'pallas');
    """  # noqa: E501

    def __init__(self, path: Path) -> None:
        """Create the file."""
        if path.exists():
            raise FileExistsError(path)
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(self._SCHEMA)
        sync_folder(path.parent)
        self._defined: set[str] = set()
        self._bytes = 0
        self.settled = True

    def add(self, channel: Channel) -> int:
        """See `StorageWriter`."""
        if channel.msgtype not in self._defined:
            self._defined.add(channel.msgtype)
            self._database.execute(
                "INSERT INTO message_definitions (topic_type, encoding, encoded_message_definition,"
                " type_description_hash) VALUES (?, ?, ?, ?)",
                (channel.msgtype, "ros2msg", channel.definition, channel.type_hash),
            )
        row = self._database.execute(
            "INSERT INTO topics (name, type, serialization_format, offered_qos_profiles,"
            " type_description_hash) VALUES (?, ?, ?, ?, ?)",
            (channel.topic, channel.msgtype, "cdr", channel.qos.dump(), channel.type_hash),
        )
        self._database.commit()  # keeps the topics if the disk is full before the first flush
        return int(row.lastrowid or 0)

    def write(self, handle: int, stamp: int, data: bytes) -> None:
        """See `StorageWriter`."""
        self.settled = False
        self._database.execute(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            (handle, stamp, data),
        )
        self._bytes += len(data) + 24

    def flush(self, sync: bool) -> None:
        """See `StorageWriter`."""
        self._database.commit()
        self.settled = True
        if sync:  # syncs the log to disk, then the file from it
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def size(self) -> int:
        """See `StorageWriter`."""
        return self._bytes

    def close(self) -> None:
        """See `StorageWriter`."""
        self._database.commit()
        self.settled = True
        self._database.execute("PRAGMA journal_mode=DELETE")  # a single file without a log
        self._database.close()

    def abandon(self) -> None:
        """See `StorageWriter`."""
        for last in (self._database.rollback, self._database.close):
            with contextlib.suppress(sqlite3.Error):
                last()


def sync_folder(folder: Path) -> None:
    """Sync the directory entries of a folder to disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
