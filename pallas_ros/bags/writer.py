"""Writing rosbag2 folders, a file at a time, so that a crash at any instant costs what came in since the last flush."""

import os
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml
from mcap.writer import CompressionType, Writer

from pallas_ros.bags.types import Qos, message_definition
from pallas_ros.body.errors import PallasError

Storage = Literal["mcap", "sqlite3"]
Compression = Literal["none", "lz4", "zstd"]
METADATA_VERSION = 8  # the newest whose QoS text is also read by Humble
_CHUNK_BYTES = 1 << 20
_SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}


@dataclass
class Channel:
    """A topic of the bag being written."""

    topic: str
    msgtype: str
    qos: Qos
    definition: str
    type_hash: str
    count: int = 0


@dataclass
class _Extent:
    """What a file, or the whole bag, spans."""

    path: str
    first: int = 0
    last: int = 0
    count: int = 0

    def add(self, stamp: int) -> None:
        self.first = stamp if not self.count else min(self.first, stamp)
        self.last = max(self.last, stamp)
        self.count += 1

    def metadata(self) -> dict[str, Any]:
        return {
            "starting_time": {"nanoseconds_since_epoch": self.first},
            "duration": {"nanoseconds": max(self.last - self.first, 0)},
            "message_count": self.count,
        }


class _File(Protocol):
    """One storage file."""

    def add(self, channel: Channel) -> int: ...

    def write(self, handle: int, stamp: int, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def size(self) -> int: ...


class _McapFile:
    """MCAP with the profile ``ros2``, in chunks that end at every flush."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._stream = path.open("xb", buffering=1 << 16)
        kind = {
            "none": CompressionType.NONE,
            "lz4": CompressionType.LZ4,
            "zstd": CompressionType.ZSTD,
        }[compression]
        self._writer = Writer(self._stream, chunk_size=_CHUNK_BYTES, compression=kind)
        self._writer.start(profile="ros2")
        self._stream.flush()  # killed before the first chunk, it is at least known for what it is
        self._schemas: dict[str, int] = {}

    def add(self, channel: Channel) -> int:
        if channel.msgtype not in self._schemas:
            self._schemas[channel.msgtype] = self._writer.register_schema(
                channel.msgtype, "ros2msg", channel.definition.encode()
            )
        metadata = {
            "offered_qos_profiles": channel.qos.dump(),
            "topic_type_hash": channel.type_hash,
        }
        return int(
            self._writer.register_channel(
                channel.topic, "cdr", self._schemas[channel.msgtype], metadata
            )
        )

    def write(self, handle: int, stamp: int, data: bytes) -> None:
        self._writer.add_message(handle, stamp, data, stamp)

    def flush(self) -> None:
        self._writer.flush()  # type: ignore[no-untyped-call]

    def size(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._stream.close()


class _SqliteFile:
    """rosbag2's sqlite3 schema, version 4, with a write-ahead log: what was committed outlives the process."""

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
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(path)
        self._path = path
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(self._SCHEMA)
        self._defined: set[str] = set()
        self._bytes = 0

    def add(self, channel: Channel) -> int:
        if channel.msgtype not in self._defined:
            self._defined.add(channel.msgtype)
            self._database.execute(
                "INSERT INTO message_definitions (topic_type, encoding, encoded_message_definition, type_description_hash) "
                "VALUES (?, ?, ?, ?)",
                (channel.msgtype, "ros2msg", channel.definition, channel.type_hash),
            )
        row = self._database.execute(
            "INSERT INTO topics (name, type, serialization_format, offered_qos_profiles, type_description_hash) VALUES (?, ?, ?, ?, ?)",
            (channel.topic, channel.msgtype, "cdr", channel.qos.dump(), channel.type_hash),
        )
        return int(row.lastrowid or 0)

    def write(self, handle: int, stamp: int, data: bytes) -> None:
        self._database.execute(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            (handle, stamp, data),
        )
        self._bytes += len(data) + 24

    def flush(self) -> None:
        self._database.commit()

    def size(self) -> int:
        return self._bytes

    def close(self) -> None:
        self._database.commit()
        self._database.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
        self._database.close()


@dataclass
class BagWriter:
    """Writes a rosbag2 folder.

    Use as a context manager, or call `close`: it writes the index and ``metadata.yaml``. A bag whose writer was killed lacks those
    two and the last ``flush_every`` seconds; `Bag` reads it as it is, `pallas_ros.bags.repair` restores it for other tools.

    Attributes:
        path: the folder, which must not exist or be empty.
        storage: ``mcap`` or ``sqlite3``.
        compression: of MCAP chunks; sqlite3 files have none.
        split_bytes: begin a new file once this many bytes are in one; 0 never.
        split_seconds: begin a new file once one spans this long, by the messages' stamps; 0 never.
        flush_every: s between flushes to the operating system, checked as messages come in (monotonic clock).
    """

    path: Path
    storage: Storage = "mcap"
    compression: Compression = "lz4"
    split_bytes: int = 0
    split_seconds: float = 0.0
    flush_every: float = 0.5
    _channels: dict[str, Channel] = field(default_factory=dict, init=False)
    _handles: dict[str, int] = field(default_factory=dict, init=False)
    _extents: list[_Extent] = field(default_factory=list, init=False)
    _file: _File | None = field(default=None, init=False)
    _last_flush: float = field(default=0.0, init=False)
    _since_flush: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Create the folder and its first file.

        Raises:
            PallasError: the folder holds something, or cannot be written to.
        """
        self.path = Path(self.path)
        if self.storage not in _SUFFIX or self.compression not in ("none", "lz4", "zstd"):
            raise PallasError(
                f"bag storage '{self.storage}' with compression '{self.compression}': choose mcap or sqlite3, and none, lz4 or zstd"
            )
        if self.storage == "sqlite3":
            self.compression = "none"  # rosbag2 has no compression inside sqlite3
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise PallasError(
                    f"{self.path}: there is something in it already; record to another folder or remove it"
                )
            self._open_file()
        except (OSError, sqlite3.Error) as error:
            raise PallasError(f"{self.path}: cannot record there: {error}") from None

    @property
    def count(self) -> int:
        """Messages written so far."""
        return sum(extent.count for extent in self._extents)

    @property
    def topics(self) -> dict[str, int]:
        """Topics and how many messages of each were written."""
        return {name: channel.count for name, channel in self._channels.items()}

    def add_topic(self, topic: str, msgtype: str, qos: Qos | None = None) -> None:
        """Declare a topic before its first message; declaring it again with the same type does nothing.

        Raises:
            PallasError: the type's definition is not at hand, or the topic carries another type already.
        """
        known = self._channels.get(topic)
        if known is not None:
            if known.msgtype != msgtype:
                raise PallasError(
                    f"topic {topic} carries {known.msgtype} in this bag, so {msgtype} cannot go there too"
                )
            return
        definition, type_hash = message_definition(msgtype)
        self.add_channel(Channel(topic, msgtype, qos or Qos(), definition, type_hash))

    def add_channel(self, channel: Channel) -> None:
        """Declare a topic whose definition is known already (copying from another bag)."""
        self._channels[channel.topic] = channel
        assert self._file is not None
        self._handles[channel.topic] = self._file.add(channel)

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """Append a serialised (CDR) message received at ``stamp`` ns.

        Raises:
            PallasError: the disk is full, or the bag was closed.
        """
        if self._file is None:
            raise PallasError(f"{self.path}: the bag is closed")
        extent = self._extents[-1]
        try:
            if extent.count and self._full(extent, stamp):
                self._close_file()
                self._open_file()
                extent = self._extents[-1]
            self._file.write(self._handles[topic], stamp, data)
            extent.add(stamp)
            self._channels[topic].count += 1
            self._since_flush += 1
            self.flush_if_due()
        except (OSError, sqlite3.Error) as error:
            raise PallasError(f"{self.path}: cannot go on recording: {error}") from None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file is None

    def flush_if_due(self) -> None:
        """Flush where the last time is ``flush_every`` seconds past; for a writer whose messages may cease."""
        if time.monotonic() - self._last_flush >= self.flush_every:
            self.flush()

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        if self._file is not None and self._since_flush:
            self._file.flush()
            self._since_flush = 0
        self._last_flush = time.monotonic()

    def close(self) -> None:
        """Finish the file and write ``metadata.yaml``; a second call does nothing."""
        if self._file is not None:
            self._close_file()
            self._file = None

    def __enter__(self) -> "BagWriter":
        """The writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, whatever happened: what was recorded is kept."""
        self.close()

    def _full(self, extent: _Extent, stamp: int) -> bool:
        assert self._file is not None
        return bool(
            (self.split_bytes and self._file.size() >= self.split_bytes)
            or (self.split_seconds and stamp - extent.first >= self.split_seconds * 1e9)
        )

    def _open_file(self) -> None:
        path = self.path / f"{self.path.resolve().name}_{len(self._extents)}{_SUFFIX[self.storage]}"
        self._file = (
            _McapFile(path, self.compression) if self.storage == "mcap" else _SqliteFile(path)
        )
        self._extents.append(_Extent(path.name))
        self._handles = {
            topic: self._file.add(channel) for topic, channel in self._channels.items()
        }
        self._last_flush = time.monotonic()

    def _close_file(self) -> None:
        assert self._file is not None
        self._file.close()
        write_metadata(self.path, self.storage, list(self._channels.values()), self._extents)


def write_metadata(
    folder: Path, storage: str, channels: list[Channel], extents: list[_Extent]
) -> None:
    """Write ``metadata.yaml`` of rosbag2, whole or not at all."""
    filled = [extent for extent in extents if extent.count]
    whole = _Extent(
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
    temporary.write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False),
        encoding="utf-8",
    )
    os.replace(temporary, folder / "metadata.yaml")
