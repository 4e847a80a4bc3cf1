"""Read bags in time order, intact or damaged, one chunk at a time."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pallas_ros.bags.mcap_file import McapFile
from pallas_ros.bags.mcap_records import FOREVER
from pallas_ros.bags.metadata_file import read_metadata
from pallas_ros.bags.sqlite_file import SqliteFile
from pallas_ros.bags.types import BagMessage, BagTopic, Decoder, Qos, StorageFile
from pallas_ros.body.errors import PallasError

__all__ = ["Bag", "BagMessage", "BagTopic"]


class Bag:
    """A recording: a rosbag2 folder, a ``.mcap`` or a ``.db3`` file.

    Needs no ``metadata.yaml`` and no index, so a bag whose writer was killed can be read like any
    other; `damage` reports it.

    Attributes:
        path: as given.
        topics: by name.
        first, last: ns, timestamps of the first and last message; 0 if there is none.
        encodings: of topics that are not ROS 2 messages and cannot be read here, by name.
    """

    def __init__(self, path: str | Path) -> None:
        """Open and index the bag; only the topics are kept in memory.

        Raises:
            PallasError: there is no bag at ``path``.
        """
        self.path = Path(path)
        self.files = _storage_files(self.path)
        self._decoder = Decoder()
        self._storage, self._troubles = _open_all(self.path, self.files)
        self.topics: dict[str, BagTopic] = {}
        self.encodings: dict[str, str] = {}
        for storage in self._storage:
            self.encodings |= storage.encodings
            for topic in storage.topics:
                self._add(topic)
        spans = [
            (storage.first, storage.last)
            for storage in self._storage
            if any(topic.count for topic in storage.topics)
        ]
        self.first = min((first for first, _ in spans), default=0)
        self.last = max((last for _, last in spans), default=0)
        if self.encodings and not self.topics:
            raise PallasError(f"{self.path}: {_foreign(self.encodings)}")

    @property
    def damage(self) -> str:
        """Describe known damage to the files; empty if there is none.

        Damage is found when it is read: this is complete after `check`, and after all messages were
        read.
        """
        damages = [storage.damage for storage in self._storage] + self._troubles
        return "; ".join(damage for damage in damages if damage)

    def check(self, progress: Callable[[int], None] = lambda count: None) -> str:
        """Read every byte and return `damage`; ``progress`` is called with the message count."""
        done = 0

        def passed_on(count: int) -> None:
            progress(done + count)

        for storage in self._storage:
            storage.check(passed_on)
            done += sum(topic.count for topic in storage.topics)
        return self.damage

    @property
    def count(self) -> int:
        """Total number of messages."""
        return sum(topic.count for topic in self.topics.values())

    @property
    def duration(self) -> float:
        """Seconds from the first message to the last."""
        return (self.last - self.first) / 1e9

    def extents(self) -> list[tuple[str, int, int, int]]:
        """Return name, first and last timestamp (ns) and message count of each readable file."""
        return [
            (s.name, s.first, s.last, sum(topic.count for topic in s.topics)) for s in self._storage
        ]

    def messages(
        self, topics: set[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield messages of ``topics`` (default all) in order of timestamp, with start <= stamp <
        stop in ns.
        """
        wanted = set(self.topics) if topics is None else topics & set(self.topics)
        begin = start if start is not None else 0
        end = stop if stop is not None else FOREVER
        for storage in self._storage:
            yield from storage.messages(wanted, begin, end)

    def decode(self, message: BagMessage) -> Any:
        """Return the message as an object with the fields of its type.

        Raises:
            PallasError: the type is unknown, or the bytes do not match it.
        """
        return self._decoder.decode(message.msgtype, message.data)

    def read(
        self, topic: str, start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield timestamp (ns) and decoded message of one topic; damaged messages are skipped."""
        for message in self.messages({topic}, start, stop):
            with contextlib.suppress(PallasError):
                yield message.stamp, self.decode(message)

    def why_empty(self) -> str:
        """Explain why no message can be read."""
        return _foreign(self.encodings) if self.encodings else "there is no message in this bag"

    def require(self, *names: str) -> None:
        """Check that the required topics exist.

        Raises:
            PallasError: names the missing topic and the existing ones.
        """
        for name in names:
            if name not in self.topics or not self.topics[name].count:
                there = (
                    ", ".join(sorted(topic.name for topic in self.topics.values() if topic.count))
                    or "nothing"
                )
                if name in self.encodings:
                    raise PallasError(f"{self.path}: {_foreign(self.encodings)}")
                raise PallasError(
                    f"{self.path}: no messages on {name} in this bag; it holds {there[:400]}"
                )

    def _add(self, topic: BagTopic) -> None:
        self._decoder.learn(topic.msgtype, topic.definition, topic.encoding)
        if topic.name in self.topics:
            self.topics[topic.name].count += topic.count
        else:
            self.topics[topic.name] = topic


def _storage_files(path: Path) -> list[Path]:
    """Return the files of a bag in the order of recording."""
    if not path.exists():
        raise PallasError(f"{path}: no such bag; give a rosbag2 folder, a .mcap or a .db3 file")
    if path.is_file():
        if path.suffix == ".bag":
            raise PallasError(f"{path}: {_ros1(path)}")
        if path.suffix not in (".mcap", ".db3"):
            raise PallasError(f"{path}: not a bag; give a rosbag2 folder, a .mcap or a .db3 file")
        return [path]
    files = sorted(
        (file for kind in ("*.mcap", "*.db3") for file in path.glob(kind) if file.is_file()),
        key=lambda file: (len(file.name), file.name),
    )
    if not files:
        raise PallasError(f"{path}: not a bag: {_why_no_bag(path)}")
    metadata = read_metadata(path)
    if metadata is not None and metadata.compression_mode == "message":
        raise PallasError(
            f"{path}: its messages are compressed one by one; convert it with 'ros2 bag convert'"
            " first"
        )
    return files


def _why_no_bag(folder: Path) -> str:
    if any(folder.glob("*.zstd")):
        return "its files are compressed; run 'zstd -d' on them first"
    old = next(folder.glob("*.bag"), None)
    return "it contains no .mcap or .db3 file" if old is None else _ros1(old)


def _ros1(path: Path) -> str:
    """Explain what to do with a ROS 1 bag."""
    source, result = (shlex.quote(str(name)) for name in (path, path.with_suffix("")))
    return f"a ROS 1 bag; convert it first: rosbags-convert --src {source} --dst {result}"


def _foreign(encodings: dict[str, str]) -> str:
    """Describe topics of an MCAP file that are not ROS 2 messages, and what to do."""
    kinds = ", ".join(sorted({kind[:20] or "no encoding" for kind in encodings.values()}))
    names = sorted(encodings)
    some = ", ".join(name[:60] for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"the messages on {some} are encoded as {kinds}, not as ROS 2 messages (cdr); convert them "
        "to ROS 2 types first, as docs/guide/recording.md says, or record them with "
        "`ros2 bag record` or `pallas record`"
    )


def _open_all(path: Path, files: list[Path]) -> tuple[list[StorageFile], list[str]]:
    """Open the readable files and describe what is wrong with the others.

    Raises:
        PallasError: none can be read.
    """
    storage: list[StorageFile] = []
    troubles: list[str] = []
    refused: PallasError | None = None
    for file in files:
        if not file.stat().st_size and len(files) > 1:
            troubles.append(f"{file.name} is empty")
            continue
        try:
            storage.append(_Mcap(file) if file.suffix == ".mcap" else SqliteFile(file))
        except PallasError as error:
            refused = refused or error
            troubles.append(f"{file.name} cannot be read")
    if refused is not None and not storage:
        raise refused
    metadata = read_metadata(path) if path.is_dir() else None
    if metadata is not None:
        there = {file.name for file in files}
        absent = [name for name in metadata.files if Path(name).name not in there]
        troubles += [f"{Path(name).name[:80]} is missing" for name in absent[:10]]
    return storage, troubles


class _Mcap:
    """An MCAP file as a storage file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = McapFile(path)
        self.topics: list[BagTopic] = []
        self.encodings: dict[str, str] = {}
        index = self._file.index()
        self.first = index.first
        self.last = index.last
        known = index.known
        for key, channel in index.channels.items():
            if key not in known:
                self.encodings[channel.topic] = channel.message_encoding
                continue
            schema = index.schemas[channel.schema_id]
            self.topics.append(
                BagTopic(
                    channel.topic,
                    schema.name,
                    Qos.parse(channel.metadata.get("offered_qos_profiles", "")),
                    index.counts.get(key, 0),
                    schema.data.decode("utf-8", "replace"),
                    schema.encoding,
                    channel.metadata.get("topic_type_hash", ""),
                )
            )

    @property
    def damage(self) -> str:
        return self._file.damage

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        for topic, msgtype, stamp, data in self._file.messages(topics, start, stop):
            yield BagMessage(topic, msgtype, stamp, data)

    def check(self, progress: Callable[[int], None]) -> None:
        self._file.check(progress)
