"""Reading bags in time order, whole or damaged, a chunk at a time."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from pallas_ros.bags.mcap_file import FOREVER, McapFile
from pallas_ros.bags.types import Decoder, Qos
from pallas_ros.body.errors import PallasError


class BagMessage(NamedTuple):
    """One recorded message, still serialised."""

    topic: str
    msgtype: str
    stamp: int
    """ns, when it was received."""
    data: bytes


@dataclass
class BagTopic:
    """A topic of a bag: its type, how it was offered, how many messages it has and between which stamps (ns) the bag's lie."""

    name: str
    msgtype: str
    qos: Qos
    count: int
    definition: str = ""
    encoding: str = ""
    type_hash: str = ""


class StorageFile(Protocol):
    """One storage file, open for reading."""

    topics: list[BagTopic]
    first: int
    last: int
    damage: str

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        """Messages of ``topics`` with start <= stamp < stop, in the order of their stamps."""
        ...


class Bag:
    """A recording: a rosbag2 folder, a ``.mcap`` or a ``.db3`` file.

    Needs no ``metadata.yaml`` and no index, so a bag whose writer was killed reads like any other; `damage` then says so.

    Attributes:
        path: as given.
        topics: by name.
        first, last: ns, stamps of the first and last message; 0 where there is none.
        damage: what is wrong with the files, in words; empty when nothing is.
    """

    def __init__(self, path: str | Path) -> None:
        """Open and index; nothing but the topics is kept.

        Raises:
            PallasError: there is no bag at ``path``.
        """
        self.path = Path(path)
        self.files = _storage_files(self.path)
        begun = [file for file in self.files if file.stat().st_size] or self.files
        self._storage = [_open(file) for file in begun]
        self._decoder = Decoder()
        self.topics: dict[str, BagTopic] = {}
        for storage in self._storage:
            for topic in storage.topics:
                self._add(topic)
        spans = [
            (storage.first, storage.last)
            for storage in self._storage
            if any(topic.count for topic in storage.topics)
        ]
        self.first = min((first for first, _ in spans), default=0)
        self.last = max((last for _, last in spans), default=0)
        damages = [storage.damage for storage in self._storage] + [
            f"{file.name} is empty" for file in self.files if file not in begun
        ]
        self.damage = "; ".join(damage for damage in damages if damage)

    @property
    def count(self) -> int:
        """Messages in all."""
        return sum(topic.count for topic in self.topics.values())

    @property
    def duration(self) -> float:
        """Seconds from the first message to the last."""
        return (self.last - self.first) / 1e9

    def messages(
        self, topics: set[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[BagMessage]:
        """Messages in the order of their stamps, of ``topics`` (default all), with start <= stamp < stop in ns."""
        wanted = set(self.topics) if topics is None else topics & set(self.topics)
        begin, end = start if start is not None else 0, stop if stop is not None else FOREVER
        for storage in self._storage:
            yield from storage.messages(wanted, begin, end)

    def decode(self, message: BagMessage) -> Any:
        """The message as an object with the fields of its type.

        Raises:
            PallasError: the type is not known, or the bytes are not of it.
        """
        return self._decoder.decode(message.msgtype, message.data)

    def read(
        self, topic: str, start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Stamp (ns) and decoded message of one topic; messages that are damaged are left out."""
        for message in self.messages({topic}, start, stop):
            with contextlib.suppress(PallasError):
                yield message.stamp, self.decode(message)

    def require(self, *names: str) -> None:
        """Refuse a bag without the topics that are needed.

        Raises:
            PallasError: names the topic that is missing, and those that are there.
        """
        for name in names:
            if name not in self.topics or not self.topics[name].count:
                there = (
                    ", ".join(sorted(topic.name for topic in self.topics.values() if topic.count))
                    or "nothing"
                )
                raise PallasError(
                    f"{self.path}: no messages on {name} in this bag; it holds {there}"
                )

    def _add(self, topic: BagTopic) -> None:
        self._decoder.learn(topic.msgtype, topic.definition, topic.encoding)
        if topic.name in self.topics:
            self.topics[topic.name].count += topic.count
        else:
            self.topics[topic.name] = topic


def _storage_files(path: Path) -> list[Path]:
    """The files of a bag in the order they were recorded."""
    if not path.exists():
        raise PallasError(f"{path}: no such bag; give a rosbag2 folder, a .mcap or a .db3 file")
    if path.is_file():
        if path.suffix not in (".mcap", ".db3"):
            raise PallasError(f"{path}: not a bag; give a rosbag2 folder, a .mcap or a .db3 file")
        return [path]
    files = sorted(
        [*path.glob("*.mcap"), *path.glob("*.db3")], key=lambda file: (len(file.name), file.name)
    )
    if not files:
        compressed = any(path.glob("*.zstd"))
        hint = (
            "it was compressed as a whole; run 'zstd -d' on its files first"
            if compressed
            else "no .mcap or .db3 file is in it"
        )
        raise PallasError(f"{path}: not a bag: {hint}")
    if _compression_mode(path):
        raise PallasError(
            f"{path}: its messages are compressed one by one; convert it with 'ros2 bag convert' first"
        )
    return files


def _compression_mode(folder: Path) -> str:
    """``compression_mode`` of the metadata where it is ``message``; damaged or absent metadata is no obstacle."""
    try:
        text = (folder / "metadata.yaml").read_text(encoding="utf-8")[: 1 << 20]
        mode = str(yaml.safe_load(text)["rosbag2_bagfile_information"].get("compression_mode", ""))
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return ""
    return mode.lower() if mode.lower() == "message" else ""


def _open(path: Path) -> StorageFile:
    return _Mcap(path) if path.suffix == ".mcap" else _Sqlite(path)


class _Mcap:
    """An MCAP file as a storage file."""

    def __init__(self, path: Path) -> None:
        self._file = McapFile(path)
        self.topics: list[BagTopic] = []
        index = self._file.index()
        self.first, self.last, self.damage = index.first, index.last, index.damage
        for key, channel in index.channels.items():
            schema = index.schemas.get(channel.schema_id)
            if channel.message_encoding == "cdr" and schema is not None:
                metadata = channel.metadata
                self.topics.append(
                    BagTopic(
                        channel.topic,
                        schema.name,
                        Qos.parse(metadata.get("offered_qos_profiles", "")),
                        index.counts.get(key, 0),
                        schema.data.decode("utf-8", "replace"),
                        schema.encoding,
                        metadata.get("topic_type_hash", ""),
                    )
                )

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        for topic, msgtype, stamp, data in self._file.messages(topics, start, stop):
            yield BagMessage(topic, msgtype, stamp, data)


class _Sqlite:
    """A rosbag2 sqlite3 file, of any schema version."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: list[BagTopic] = []
        self.first, self.last, self.damage = 0, 0, ""
        try:
            with contextlib.closing(self._connect()) as database:
                self._index(database)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise PallasError(f"{path}: not a readable rosbag2 sqlite3 file: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        """Read only; a log that a killed writer left beside the file is read with it, where the folder can be written to."""
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)

    def _index(self, database: sqlite3.Connection) -> None:
        columns = {row[1] for row in database.execute("PRAGMA table_info(topics)")}
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        type_hash = "type_description_hash" if "type_description_hash" in columns else "''"
        definitions: dict[str, tuple[str, str]] = {}
        if database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'"
        ).fetchone():
            rows = database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {str(name): (str(encoding), str(text)) for name, encoding, text in rows}
        counts = dict(database.execute("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id"))
        for key, name, msgtype, profile, digest in database.execute(
            f"SELECT id, name, type, {qos}, {type_hash} FROM topics"
        ):
            encoding, text = definitions.get(msgtype, ("", ""))
            self.topics.append(
                BagTopic(
                    str(name),
                    str(msgtype),
                    Qos.parse(str(profile)),
                    counts.get(key, 0),
                    text,
                    encoding,
                    str(digest),
                )
            )
        self.first, self.last = database.execute(
            "SELECT COALESCE(MIN(timestamp), 0), COALESCE(MAX(timestamp), 0) FROM messages"
        ).fetchone()
        if self._path.with_name(self._path.name + "-wal").exists():
            self.damage = f"{self._path.name} was not closed"

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        try:
            with contextlib.closing(self._connect()) as database:
                named = {
                    row[0]: (str(row[1]), str(row[2]))
                    for row in database.execute("SELECT id, name, type FROM topics")
                    if row[1] in topics
                }
                marks = ",".join("?" * len(named))
                query = (
                    f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) "
                    "AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, id"
                )
                for key, stamp, data in database.execute(query, (*named, start, stop)):
                    if isinstance(data, bytes) and isinstance(stamp, int):
                        yield BagMessage(*named[key], stamp, data)
        except sqlite3.Error as error:
            raise PallasError(
                f"{self._path}: the file is damaged ({error}); what came before was read"
            ) from None
