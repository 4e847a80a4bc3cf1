"""Bags made to block, to compute without end, or to fill the memory."""

import contextlib
import json
import os
import signal
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from bag_samples import read_texts, write_texts

from pallas_ros.bags import Bag, repair
from pallas_ros.bags.metadata_file import read_metadata
from pallas_ros.body.errors import PallasError
from pallas_ros.view.page import KEPT, LAYOUT, read_written


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail after 30 s, also within sqlite3 or a blocking call."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_pipe_in_place_of_the_metadata_does_not_block(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    os.mkfifo(tmp_path / "bag" / "metadata.yaml")
    assert read_texts(tmp_path / "bag") == texts
    with pytest.raises(PallasError, match=r"cannot be repaired|metadata\.yaml"):
        repair(tmp_path / "bag")


def test_an_endless_device_in_place_of_the_metadata_is_not_copied(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    (tmp_path / "bag" / "metadata.yaml").symlink_to("/dev/zero")
    repair(tmp_path / "bag")
    assert read_texts(tmp_path / "bag") == texts


@pytest.mark.parametrize("line", ["", " ", "  message_count: 1 x", "  relative_file_paths:"])
def test_metadata_of_many_lines_is_read_in_proportion_to_its_size(
    tmp_path: Path, line: str
) -> None:
    text = "rosbag2_bagfile_information:\n" + f"{line}\n" * ((1 << 20) // (len(line) + 1))
    (tmp_path / "metadata.yaml").write_text(text + "  compression_mode: FILE\n")
    begun = time.process_time()
    found = read_metadata(tmp_path)
    assert time.process_time() - begun < 2
    assert found is not None
    assert found.compression_mode == "file"


def test_a_pipe_in_place_of_a_page_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.html")
    assert read_written(tmp_path / "a.html", False) is None


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_a_pipe_beside_a_sqlite3_file_does_not_block(tmp_path: Path, suffix: str) -> None:
    write_texts(tmp_path / "bag", storage="sqlite3")
    file = next((tmp_path / "bag").glob("*.db3"))
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA journal_mode={'delete' if suffix == '-journal' else 'wal'}")
    os.mkfifo(f"{file}{suffix}")
    with pytest.raises(PallasError, match=f"{suffix}.*pipe"):
        Bag(file)


TOPICS = """CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,
    serialization_format TEXT, offered_qos_profiles TEXT);
INSERT INTO topics VALUES(1, '/t', 'std_msgs/msg/String', 'cdr', '');
"""
MESSAGES = """CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,
    data BLOB);
INSERT INTO messages VALUES(1, 1, 1, x'00');
"""
DATABASES = {
    "recursive view": TOPICS
    + """CREATE VIEW messages(id, topic_id, timestamp, data) AS WITH RECURSIVE c(n) AS
        (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, 1, n, x'00' FROM c;""",
    "view of a large value": TOPICS
    + "CREATE VIEW messages(id, topic_id, timestamp, data) AS SELECT 1, 1, 1, zeroblob(900000000);",
    "topics in a view": MESSAGES
    + """CREATE VIEW topics(id, name, type) AS WITH RECURSIVE c(n) AS
        (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, '/t' || n, 'a/msg/B' FROM c;""",
    "generated column": TOPICS
    + """CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,
        data BLOB GENERATED ALWAYS AS (zeroblob(900000000)));
        INSERT INTO messages VALUES(1, 1, 1);""",
    "definitions in a view": TOPICS
    + MESSAGES
    + """CREATE VIEW message_definitions(topic_type, encoding, encoded_message_definition) AS
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, '', '' FROM c;""",
    "virtual table": TOPICS
    + "CREATE VIRTUAL TABLE messages USING rtree(id, topic_id, timestamp, data, e);",
}


@pytest.mark.parametrize("name", DATABASES)
def test_a_database_that_computes_its_messages_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.db3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(DATABASES[name])
    tracemalloc.start()
    with pytest.raises(PallasError, match=r"is not a plain table"):
        list(Bag(path).messages())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_pages_that_refer_to_each_other_end(tmp_path: Path) -> None:
    """Pages of a tree that all refer to the next one: 100^18 rows in 20 pages."""
    path = tmp_path / "a.db3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA page_size=4096;" + TOPICS + MESSAGES)
        row = "SELECT rootpage FROM sqlite_master WHERE name='messages'"
        root = database.execute(row).fetchone()[0]
    data = bytearray(path.read_bytes())
    leaf = bytes(data[(root - 1) * 4096 : root * 4096])
    first = len(data) // 4096 + 1
    levels = 17

    def inner(child: int) -> bytes:
        """A page of 400 cells that refer to one child."""
        cells = [child.to_bytes(4, "big") + b"\x7f"] * 400
        start = 4096 - 5 * len(cells)
        head = b"\x05\0\0" + len(cells).to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0"
        head += child.to_bytes(4, "big")
        head += b"".join((start + 5 * n).to_bytes(2, "big") for n in range(len(cells)))
        return head.ljust(start, b"\0") + b"".join(cells)

    data[(root - 1) * 4096 : root * 4096] = inner(first)
    for level in range(levels):
        data += inner(first + level + 1)
    data += leaf
    data[28:32] = (len(data) // 4096).to_bytes(4, "big")
    path.write_bytes(data)
    bag = Bag(path)
    list(bag.messages())
    bag.check()
    assert "is damaged" in bag.damage


def test_a_figure_that_no_float_holds_is_no_report(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    kept = {"layout": LAYOUT, "film": False, "options": {}, "damage": "", "figures": {"events": 1}}
    page.write_text(f"<!--{KEPT}{quote(json.dumps(kept))}-->")
    assert read_written(page, False) is not None
    text = json.dumps(kept).replace('"events": 1', '"events": 1' + "0" * 400)
    page.write_text(f"<!--{KEPT}{quote(text)}-->")
    assert read_written(page, False) is None


@pytest.mark.parametrize("layout", [{}, {"layout": LAYOUT - 1}, {"layout": None}])
def test_a_page_of_another_layout_is_written_again(
    tmp_path: Path, layout: dict[str, object]
) -> None:
    """Regression: a page of before the loads section was kept, because it had no options either."""
    page = tmp_path / "a.html"
    kept = {"film": False, "options": {}, "damage": "", "figures": {}, **layout}
    page.write_text(f"<!--{KEPT}{quote(json.dumps(kept))}-->")
    assert read_written(page, False) is None
