"""One sqlite3 file of rosbag2, of any schema version; reading continues after damaged pages.

A wrong key in the index of the timestamps, which sqlite3 does not notice, loses a message and
repeats another. Only windows of time are read with the index, and its entries are compared with the
rows; everything else is read without it.
"""

import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from pallas_ros.bags.mcap_records import FOREVER
from pallas_ros.bags.types import BagMessage, BagTopic, Qos
from pallas_ros.body.errors import PallasError
from pallas_ros.files.opening import ANY_BYTES, check_regular

Key = tuple[int, int, int]
Row = tuple[int, int, int, bytes]
Entry = tuple[int, int, int, Any]
"""Row number, topic, timestamp in the index and in the row."""
_DAMAGE = (sqlite3.Error, MemoryError)
"""Raised for damaged pages; the latter for a row whose size is damaged."""
_FARTHEST = 1 << 20
"""Maximum number of rows skipped after the last readable one; a page holds fewer than 4096."""
_TABLES = ("topics", "messages", "message_definitions")
_BESIDE = ("-wal", "-journal", "-shm")
"""Files that sqlite3 opens as well."""
_STEPS = 10_000_000
_STEPS_PER_BYTE = 100
"""Maximum steps of sqlite3's machine: reading a row takes up to 50, and a row at least 6 bytes."""
_LARGEST = 1 << 28
"""Maximum bytes of a value, and of the misplaced rows; a message of a 4k camera has 33 MB."""

_ENTRIES = 64
"""Entries of the index that are compared with the rows at once."""


class SqliteFile:
    """A sqlite3 file; see `pallas_ros.bags.types.StorageFile`."""

    def __init__(self, path: Path) -> None:
        """Open and index the file.

        Raises:
            PallasError: it is not a sqlite3 file of rosbag2.
        """
        self._path = path
        self.name = path.name
        self._troubles: dict[str, None] = {}
        self._sound = True
        self.topics: list[BagTopic] = []
        self.encodings: dict[str, str] = {}
        self.first = 0
        self.last = 0
        for suffix in _BESIDE:
            beside = Path(f"{path.resolve()}{suffix}")
            if beside.exists():
                check_regular(beside, "file of sqlite3", ANY_BYTES)
        try:
            with contextlib.closing(self._connect()) as database:
                self._check_tables(database)
                self._index(database)
        except (*_DAMAGE, UnicodeDecodeError, OverflowError) as error:
            raise PallasError(f"{path}: not a readable rosbag2 sqlite3 file: {error}") from None
        if path.with_name(path.name + "-wal").exists():
            self._troubles["was not closed"] = None

    @property
    def damage(self) -> str:
        """Describe known damage to the file."""
        return f"{self._path.name} " + ", ".join(self._troubles) if self._troubles else ""

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        """Yield messages of ``topics`` with start <= stamp < stop by timestamp; after damage, in
        write order.
        """
        done = (-1, -1)
        try:
            with contextlib.closing(self._connect()) as database:
                named = {
                    row[0]: (str(row[1]), str(row[2]))
                    for row in database.execute("SELECT id, name, type FROM topics")
                    if row[1] in topics
                }
                try:
                    for key, topic, stamp, data in self._sorted(database, named, start, stop):
                        yield BagMessage(*named[topic], stamp, data)
                        done = (stamp, key)
                except _DAMAGE as error:
                    self._damaged(error)
                    for key, topic, stamp, data in self._whole_rows(database, with_data=True):
                        if topic in named and start <= stamp < stop and (stamp, key) > done:
                            yield BagMessage(*named[topic], stamp, data)
        except _DAMAGE as error:
            self._damaged(error)

    def _sorted(
        self, database: sqlite3.Connection, topics: Container[int], start: int, stop: int
    ) -> Iterator[Row]:
        """Yield the rows of ``topics`` with start <= stamp < stop by timestamp.

        Only the keys are sorted; data that were sorted as well would be copied to a temporary file.
        """
        query = "SELECT data FROM messages NOT INDEXED WHERE rowid = ? AND timestamp = ?"
        misplaced: dict[Key, Any] | None = None
        for key, topic, stamp in self._keys(database, start, stop):
            if topic not in topics:
                continue
            found = database.execute(f"{query} AND topic_id = ?", (key, stamp, topic)).fetchone()
            if found is None:
                if misplaced is None:
                    self._damaged("a row is not where its key belongs")
                    misplaced = _misplaced(database, start, stop)
                found = (misplaced.get((key, topic, stamp)),)
            if _is_message(stamp, found[0]):
                yield key, topic, stamp, found[0]

    def _keys(self, database: sqlite3.Connection, start: int, stop: int) -> Iterator[Key]:
        """Yield row number, topic and timestamp of the rows with start <= stamp < stop.

        The index is used for a part of a file without known damage, until an entry is wrong.
        """
        done = (-1, -1)
        if self._sound and (start > 0 or stop < FOREVER) and _has_index(database):
            try:
                for key, topic, stamp in _indexed(database, start, stop):
                    yield key, topic, stamp
                    done = (stamp, key)
                return
            except _DAMAGE as error:
                self._damaged(error)
        query = (
            "SELECT rowid, topic_id, timestamp FROM messages NOT INDEXED"
            " WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, rowid"
        )
        for key, topic, stamp in database.execute(query, (start, stop)):
            if done == (-1, -1) or (stamp, key) > done:
                yield key, topic, stamp

    def check(self, progress: Callable[[int], None]) -> None:
        """Have sqlite3 check every page.

        A changed byte within a message is not detected: the format has no checksums.
        """
        try:
            with contextlib.closing(self._connect()) as database:
                found = database.execute("PRAGMA integrity_check(1)").fetchone()
                if found != ("ok",):
                    self._damaged(found[0])
        except _DAMAGE as error:
            self._damaged(error)
        progress(sum(topic.count for topic in self.topics))

    def _connect(self) -> sqlite3.Connection:
        """Open read-only.

        The write-ahead log of a killed writer is included, if the folder is writable. Statements
        are interrupted after as many steps as the file cannot need.
        """
        database = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
        if hasattr(database, "setlimit"):  # Python 3.11
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST)
        database.execute("PRAGMA ignore_check_constraints = ON")
        interval = 10_000
        log = self._path.with_name(f"{self._path.name}-wal")
        size = self._path.stat().st_size + (log.stat().st_size if log.is_file() else 0)
        left = (_STEPS + _STEPS_PER_BYTE * size) // interval

        def count() -> int:
            nonlocal left
            left -= 1
            return int(left < 0)

        database.set_progress_handler(count, interval)
        return database

    def _check_tables(self, database: sqlite3.Connection) -> None:
        """Reject views, virtual tables and computed columns, which could compute without end.

        Raises:
            PallasError: names the table.
        """
        for name in _TABLES:
            kinds = database.execute(
                "SELECT type, rootpage FROM sqlite_master WHERE lower(name) = ?", (name,)
            ).fetchall()
            columns = database.execute(f"PRAGMA table_xinfo({name})").fetchall()
            stored = all(kind == "table" and page for kind, page in kinds)
            if not stored or any(column[6] for column in columns):
                raise PallasError(
                    f"{self._path}: not a bag of rosbag2: '{name}' is not a plain table"
                )

    def _damaged(self, error: object) -> None:
        self._sound = False
        why = str(error)[:80] or "a row is too large"
        self._troubles.setdefault(f"is damaged ({why}): messages may be missing", None)

    def _index(self, database: sqlite3.Connection) -> None:
        columns = {row[1] for row in database.execute("PRAGMA table_info(topics)")}
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        type_hash = "type_description_hash" if "type_description_hash" in columns else "''"
        encoding = "serialization_format" if "serialization_format" in columns else "'cdr'"
        counts = self._counts(database)
        definitions = self._definitions(database)
        for key, name, msgtype, how, profile, digest in database.execute(
            f"SELECT id, name, type, {encoding}, {qos}, {type_hash} FROM topics"
        ):
            if how not in ("cdr", ""):
                self.encodings[str(name)] = str(how)
                continue
            format_, text = definitions.get(msgtype, ("", ""))
            self.topics.append(
                BagTopic(
                    str(name),
                    str(msgtype),
                    Qos.parse(str(profile)),
                    counts.get(key, 0),
                    text,
                    format_,
                    str(digest),
                )
            )

    def _counts(self, database: sqlite3.Connection) -> Counter[int]:
        """Return the message count of each topic; also sets the file's first and last timestamp."""
        stamps = (
            "SELECT typeof(timestamp) = 'integer', MIN(timestamp), MAX(timestamp)"
            " FROM messages NOT INDEXED GROUP BY 1"
        )
        each = "SELECT topic_id, COUNT(*) FROM messages NOT INDEXED GROUP BY topic_id"
        database.execute("SELECT topic_id, timestamp, data FROM messages LIMIT 0")
        counts: Counter[int] = Counter()
        try:
            for is_stamp, first, last in database.execute(stamps):
                if is_stamp:
                    self.first = first
                    self.last = last
                else:
                    self._damaged("a timestamp is not an integer")
            counts.update(dict(database.execute(each)))
        except _DAMAGE as error:
            self._damaged(error)
            counts.clear()
            self.first = self.last = 0
            for _, topic, stamp, _ in self._whole_rows(database, with_data=False):
                counts[topic] += 1
                self.first = min(self.first or stamp, stamp)
                self.last = max(self.last, stamp)
        return counts

    def _definitions(self, database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'"
        rows = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        try:
            if database.execute(there).fetchone():
                return {str(a): (str(b), str(c)) for a, b, c in database.execute(rows)}
        except _DAMAGE as error:
            self._damaged(error)
        return {}

    def _whole_rows(self, database: sqlite3.Connection, with_data: bool) -> Iterator[Row]:
        """Yield every readable row in write order; skip damaged pages.

        A damaged page may refer to rows already read; following it would never end.
        """
        what = "data" if with_data else "x''"
        query = (
            f"SELECT id, topic_id, timestamp, {what} FROM messages NOT INDEXED WHERE id > ? ORDER"
            " BY id"
        )
        after = 0
        step = 1
        while step <= _FARTHEST:
            try:
                for row in database.execute(query, (after,)):
                    if row[0] <= after:
                        raise sqlite3.DatabaseError("rows out of order")
                    after = row[0]
                    step = 1
                    if _is_message(row[2], row[3]):
                        yield row
                return
            except _DAMAGE:
                after = after + step
                step = 2 * step


def _is_message(stamp: Any, data: Any) -> bool:
    return isinstance(data, bytes) and isinstance(stamp, int)


def _has_index(database: sqlite3.Connection) -> bool:
    query = (
        "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'timestamp_idx'"
        " AND tbl_name = 'messages'"
    )
    return database.execute(query).fetchone() is not None


def _indexed(database: sqlite3.Connection, start: int, stop: int) -> Iterator[Key]:
    """Yield row number, topic and timestamp of the rows with start <= stamp < stop by the index.

    The entries are compared with the rows, also the one before and those after the part that is
    read: a wrong key does not move its entry, so if both are right, no entry of the part is
    outside.

    Raises:
        sqlite3.Error: an entry is wrong or missing.
    """
    query = (
        "SELECT a.rowid, b.topic_id, a.timestamp, b.timestamp"
        " FROM messages AS a INDEXED BY timestamp_idx"
        " LEFT JOIN messages AS b NOT INDEXED ON b.rowid = a.rowid"
        " WHERE a.timestamp {1} ? ORDER BY a.timestamp {0}, a.rowid {0}"
    )
    database.execute("BEGIN")  # a recorder may be adding rows
    before = database.execute(query.format("DESC", "<") + " LIMIT 1", (start,)).fetchall()
    following = database.execute(query.format("ASC", ">="), (start,))
    while part := following.fetchmany(_ENTRIES):
        _compare(database, before, part, start)
        for key, topic, stamp, _ in part:
            if stamp >= stop:
                return
            yield key, topic, stamp
        before = part[-1:]
    _compare(database, before, [], start)


def _compare(
    database: sqlite3.Connection, before: list[Entry], part: list[Entry], start: int
) -> None:
    """Compare entries of the index, and the one before them, with the rows.

    The rows from the lowest to the highest number are counted, which are about as many as the
    entries if the messages were written by time. Without ``part``, no row may follow ``before``.

    Raises:
        sqlite3.Error: an entry is wrong or missing.
    """
    entries = before + part
    sound = all(isinstance(stamp, int) and stamp == stored for _, _, stamp, stored in entries)
    if sound:
        places = [(stamp, key) for key, _, stamp, _ in entries]
        numbers = [key for _, key in places]
        low = places[0] if before else (start, -1)
        high = places[-1] if part else (FOREVER, FOREVER)
        query = (
            "SELECT COUNT(*) FROM messages NOT INDEXED WHERE rowid BETWEEN ? AND ?"
            " AND (timestamp, rowid) > (?, ?) AND (timestamp, rowid) <= (?, ?)"
        )
        first = min(numbers) if before else -1
        last = max(numbers) if part else FOREVER
        count = database.execute(query, (first, last, *low, *high)).fetchone()[0]
        sound = count == len(part) and all(a < b for a, b in itertools.pairwise(places))
    if not sound:
        raise sqlite3.DatabaseError("the index of the timestamps is wrong")


def _misplaced(database: sqlite3.Connection, start: int, stop: int) -> dict[Key, Any]:
    """Return the data of the rows with start <= stamp < stop that are not found by their key.

    Raises:
        sqlite3.Error: they are too many for the memory.
    """
    query = (
        "SELECT rowid, topic_id, timestamp, data FROM messages AS a NOT INDEXED"
        " WHERE timestamp >= ? AND timestamp < ? AND NOT EXISTS"
        " (SELECT 1 FROM messages AS b NOT INDEXED WHERE b.rowid = a.rowid"
        " AND b.timestamp = a.timestamp AND b.topic_id = a.topic_id)"
    )
    found: dict[Key, Any] = {}
    size = 0
    for key, topic, stamp, data in database.execute(query, (start, stop)):
        size += len(data) if isinstance(data, bytes) else 0
        if size > _LARGEST:
            raise sqlite3.DatabaseError("too many rows are not where their keys belong")
        found[(key, topic, stamp)] = data
    return found
