"""Bags with flipped bits, overwritten regions or lost pages: intact data is read, missing data is
reported, nothing is discarded.
"""

import random
import re
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from bag_samples import KINDS, read_texts, write_texts
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from pallas_ros.bags import Bag, BagMessage, repair
from pallas_ros.bags.mcap_records import CHUNK, Records
from pallas_ros.bags.sqlite_file import SqliteFile

COUNT = 400
CUT = 3000  # bytes: more than the index of such a bag


def bag_of(folder: Path, compression: str, closed: bool) -> Path:
    """A bag of `COUNT` messages in 40 chunks, closed or truncated."""
    write_texts(folder, COUNT, compression=compression)
    if not closed:
        file = folder / f"{folder.name}_0.mcap"
        file.write_bytes(file.read_bytes()[:-CUT])
        (folder / "metadata.yaml").unlink()
    return folder


def read(folder: Path) -> list[BagMessage]:
    return list(Bag(folder).messages())


def spoil_a_chunk(file: Path) -> None:
    """Flip a bit in the messages of the twentieth chunk."""
    data = bytearray(file.read_bytes())
    with file.open("rb") as stream:
        chunks = [record for record in Records(stream) if record.kind == CHUNK]
    data[chunks[19].end - 7] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_a_flipped_bit_costs_one_chunk_and_is_reported(
    tmp_path: Path, compression: str, closed: bool
) -> None:
    file = bag_of(tmp_path / "bag", compression, closed) / "bag_0.mcap"
    sound = file.read_bytes()
    whole = read(tmp_path / "bag")
    draw = random.Random(1)
    for place in [0, 3, 9, 10, 20, *draw.sample(range(len(sound)), 30)]:
        data = bytearray(sound)
        data[place] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        bag = Bag(tmp_path / "bag")
        found = list(bag.messages())
        lost = len(whole) - len(found)
        assert set(found) <= set(whole), place
        assert [m.stamp for m in found] == sorted(m.stamp for m in found), place
        assert lost <= 10, place
        damage = bag.check()
        assert damage or not lost, place
        if lost and closed:
            assert f"{lost} of {COUNT} messages are missing" in damage


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_repair_keeps_intact_data_and_the_original(
    tmp_path: Path, compression: str, closed: bool
) -> None:
    bag_of(tmp_path / "good", compression, closed)
    whole = read(tmp_path / "good")
    draw = random.Random(2)
    for number in range(8):
        path = tmp_path / f"bag{number}"
        shutil.copytree(tmp_path / "good", path)
        file = path / "good_0.mcap"
        data = bytearray(file.read_bytes())
        data[draw.randrange(1100, len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        found = repair(path)
        assert found.damage
        assert found.original is not None
        assert (found.original / "good_0.mcap").read_bytes() == data
        assert found.messages >= len(whole) - 10
        assert set(read(path)) <= set(whole)
        assert repair(path).damage == ""
        with AnyReader([path]) as reader:
            assert reader.message_count == found.messages
    assert not list(tmp_path.glob(".*"))


def test_missing_messages_are_counted_and_located_in_time(tmp_path: Path) -> None:
    for closed in (True, False):
        path = tmp_path / f"bag{closed}"
        file = bag_of(path, "lz4", closed) / f"{path.name}_0.mcap"
        spoil_a_chunk(file)
        bag = Bag(path)
        assert sum(1 for _ in bag.messages()) < COUNT
        words = r"damaged in 1 place, \d+ messages are missing between 1\.\d\d and \d\.\d\d s"
        assert re.search(words, bag.damage)


@pytest.mark.parametrize("closed", [True, False])
def test_an_overwritten_region_costs_what_was_in_it(tmp_path: Path, closed: bool) -> None:
    file = bag_of(tmp_path / "bag", "none", closed) / "bag_0.mcap"
    data = bytearray(file.read_bytes())
    for filling in (b"\0", b"\xff", b"\x06", b"\x05\x16\0\0\0\0\0\0\0"):
        begin = len(data) // 3
        length = 4500
        file.write_bytes(data[:begin] + (filling * length)[:length] + data[begin + length :])
        bag = Bag(tmp_path / "bag")
        found = list(bag.messages())
        assert COUNT - 80 <= len(found) < COUNT
        assert bag.check()


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_topics_are_known_though_the_chunk_that_describes_them_is_damaged(
    tmp_path: Path, compression: str
) -> None:
    file = bag_of(tmp_path / "bag", compression, closed=False) / "bag_0.mcap"
    data = bytearray(file.read_bytes())
    first = data.index(b"\x06", data.rindex(b"RIHS01", 0, 1200))
    data[first + 60 : first + 200] = bytes(140)
    file.write_bytes(data)
    assert read_texts(tmp_path / "bag")[:3] == ["message 10", "message 11", "message 12"]


def test_a_part_of_a_damaged_bag(tmp_path: Path) -> None:
    file = bag_of(tmp_path / "bag", "lz4", closed=True) / "bag_0.mcap"
    whole = read(tmp_path / "bag")
    spoil_a_chunk(file)
    bag = Bag(tmp_path / "bag")
    for begin in range(0, COUNT, 40):
        start = whole[begin].stamp
        stop = whole[begin + 39].stamp + 1
        part = list(bag.messages(start=start, stop=stop))
        assert set(part) <= set(whole[begin : begin + 40])
        assert len(part) >= 30
    assert "damaged in 1 place" in bag.damage


def test_a_file_of_a_split_bag_that_cannot_be_read_or_is_not_there(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag", 200, split_seconds=0.5)
    second = tmp_path / "bag" / "bag_1.mcap"
    sound = second.read_bytes()
    second.write_bytes(b"nothing of the kind" * 100)
    assert len(read_texts(tmp_path / "bag")) == len(texts) - 50
    assert "bag_1.mcap cannot be read" in Bag(tmp_path / "bag").damage
    second.unlink()
    assert "bag_1.mcap is missing" in Bag(tmp_path / "bag").damage
    assert repair(tmp_path / "bag").messages == len(texts) - 50
    assert sound


def test_other_tools_read_a_bag_whose_topics_are_described_twice(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag", 30)
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert len(list(reader.iter_messages())) == 30
        summary = reader.get_summary()
    assert summary is not None
    assert len(summary.channels) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "rosbag2_bagfile_information: 5", "\0\xff", "a: &a [*a]"]
)
def test_empty_metadata_is_ignored_and_rewritten(tmp_path: Path, text: str) -> None:
    texts = write_texts(tmp_path / "bag", 50)
    before = (tmp_path / "bag" / "bag_0.mcap").read_bytes()
    good = (tmp_path / "bag" / "metadata.yaml").read_text()
    (tmp_path / "bag" / "metadata.yaml").write_text(text)
    assert read_texts(tmp_path / "bag") == texts
    assert "metadata.yaml" in repair(tmp_path / "bag").damage
    assert (tmp_path / "bag" / "metadata.yaml").read_text() == good
    assert (tmp_path / "bag" / "bag_0.mcap").read_bytes() == before
    assert (tmp_path / "bag" / "original" / "metadata.yaml").read_text() == text


def test_reading_continues_after_a_damaged_page_of_sqlite3(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag", 4000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    whole = read(tmp_path / "bag")
    sound = file.read_bytes()
    for page in (10, 20, 33, 45):
        data = bytearray(sound)
        data[page * 4096 : page * 4096 + 300] = b"\xff" * 300
        file.write_bytes(data)
        bag = Bag(tmp_path / "bag")
        found = list(bag.messages())
        assert set(found) <= set(whole)
        assert len(found) > 0.9 * len(whole)
        assert "damaged" in bag.check()
    found_again = repair(tmp_path / "bag")
    assert found_again.messages == len(found)
    assert found_again.original is not None
    assert (found_again.original / "bag_0.db3").read_bytes() == data
    assert Bag(tmp_path / "bag").check() == ""
    with sqlite3.connect(tmp_path / "bag" / "bag_0.db3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


INDEX_LEAF = 0x0A
TABLE_LEAF = 0x0D


def place_in(data: bytes, kind: int, stamp: int) -> int:
    """Return where a timestamp is stored in the pages of a kind of a sqlite3 file."""
    wanted = struct.pack(">q", stamp)[2:]  # sqlite3 stores these in 6 bytes
    at = data.index(wanted)
    while data[at // 4096 * 4096] != kind:
        at = data.index(wanted, at + 1)
    return at


def test_a_wrong_key_in_the_index_of_sqlite3_costs_nothing(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag", 4000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    whole = read(tmp_path / "bag")
    assert len(whole) == 4000
    data = bytearray(file.read_bytes())
    data[place_in(data, INDEX_LEAF, whole[1999].stamp) + 7] ^= 4  # the row's number
    file.write_bytes(data)
    bag = Bag(tmp_path / "bag")
    assert list(bag.messages()) == whole
    part = list(bag.messages({"/odd"}, start=whole[1990].stamp, stop=whole[2010].stamp))
    assert part == [message for message in whole[1990:2010] if message.topic == "/odd"]
    assert bag.count == 4000
    assert "timestamp_idx" in bag.check()
    assert repair(tmp_path / "bag").messages == 4000
    assert read(tmp_path / "bag") == whole
    assert Bag(tmp_path / "bag").check() == ""


@pytest.mark.parametrize("bit", [0, 20, 24, 28, 31, 32, 36, 47])
def test_a_wrong_timestamp_in_the_index_of_sqlite3_costs_no_window_a_message(
    tmp_path: Path, bit: int
) -> None:
    write_texts(tmp_path / "bag", 1000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    whole = read(tmp_path / "bag")
    sound = file.read_bytes()
    for wrong in (300, 501, 999):
        data = bytearray(sound)
        at = place_in(data, INDEX_LEAF, whole[wrong].stamp)
        data[at + 5 - bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        for begin in {max(0, wrong - gap) for gap in (0, 1, 3, 10, 21)}:
            end = min(begin + 20, 999)
            part = Bag(tmp_path / "bag").messages(start=whole[begin].stamp, stop=whole[end].stamp)
            assert list(part) == whole[begin:end], (wrong, begin)
        rest = Bag(tmp_path / "bag").messages(start=whole[100].stamp)
        assert list(rest) == whole[100:]


def test_lost_pages_of_the_index_of_sqlite3_cost_no_window_a_message(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag", 1000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    whole = read(tmp_path / "bag")
    sound = file.read_bytes()
    pages = [at for at in range(4096, len(sound), 4096) if sound[at] == INDEX_LEAF]
    assert len(pages) > 3
    for page in pages:
        data = bytearray(sound)
        data[page + 4] ^= 1 << sound[page + 4].bit_length() - 1  # the number of entries
        file.write_bytes(data)
        for begin in range(0, 1000, 100):
            part = Bag(tmp_path / "bag").messages(
                start=whole[begin].stamp, stop=whole[begin + 99].stamp + 1
            )
            assert list(part) == whole[begin : begin + 100], (page, begin)


def test_a_window_of_sqlite3_is_read_with_the_index_unless_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_texts(tmp_path / "bag", 20_000, storage="sqlite3")
    whole = read(tmp_path / "bag")
    start = whole[9000].stamp
    stop = whole[9020].stamp
    steps = [0]

    def counted(file: SqliteFile) -> sqlite3.Connection:
        def count() -> int:
            steps[0] += 1
            return 0

        database = connect(file)
        database.set_progress_handler(count, 100)
        return database

    def steps_of_window(bag: Bag) -> int:
        steps[0] = 0
        assert list(bag.messages(start=start, stop=stop)) == whole[9000:9020]
        return steps[0]

    connect = SqliteFile._connect
    monkeypatch.setattr(SqliteFile, "_connect", counted)
    with_index = steps_of_window(Bag(tmp_path / "bag"))
    file = tmp_path / "bag" / "bag_0.db3"
    data = bytearray(file.read_bytes())
    data[place_in(data, INDEX_LEAF, whole[1999].stamp) + 7] ^= 4
    file.write_bytes(data)
    bag = Bag(tmp_path / "bag")
    assert steps_of_window(bag) == with_index
    assert bag.check()
    assert steps_of_window(bag) > 20 * with_index > 0
    with sqlite3.connect(file) as database:
        database.execute("DROP INDEX timestamp_idx")
    assert steps_of_window(Bag(tmp_path / "bag")) > 20 * with_index > 0


def test_a_wrong_end_in_the_index_of_sqlite3_does_not_change_the_span(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag", 4000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    before = Bag(tmp_path / "bag")
    data = bytearray(file.read_bytes())
    data[place_in(data, INDEX_LEAF, before.last)] ^= 0x40
    file.write_bytes(data)
    assert Bag(tmp_path / "bag").first == before.first
    assert Bag(tmp_path / "bag").last == before.last


@pytest.mark.parametrize("stamp", ["x'ff'", "'tomorrow'", "1e300", "NULL"])
def test_a_timestamp_of_another_type_does_not_change_the_span(tmp_path: Path, stamp: str) -> None:
    write_texts(tmp_path / "bag", 40, storage="sqlite3")
    first = Bag(tmp_path / "bag").first
    last = Bag(tmp_path / "bag").last
    whole = read(tmp_path / "bag")
    with sqlite3.connect(tmp_path / "bag" / "bag_0.db3") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'timestamp INTEGER NOT NULL', 'timestamp')"
        )
    with sqlite3.connect(tmp_path / "bag" / "bag_0.db3") as database:
        database.execute(f"UPDATE messages SET timestamp = {stamp} WHERE id = 20")
    bag = Bag(tmp_path / "bag")
    assert bag.first == first
    assert bag.last == last
    assert list(bag.messages(stop=bag.last)) == whole[:19] + whole[20:-1]
    assert "timestamp" in bag.damage


@pytest.mark.parametrize("bit", [0, 2])
def test_a_wrong_key_of_a_row_of_sqlite3_costs_nothing(tmp_path: Path, bit: int) -> None:
    write_texts(tmp_path / "bag", 4000, storage="sqlite3")
    file = tmp_path / "bag" / "bag_0.db3"
    whole = read(tmp_path / "bag")
    data = bytearray(file.read_bytes())
    number = bytes((0x80 | 2000 >> 7, 2000 & 0x7F))
    row = data.rindex(number, 0, place_in(data, TABLE_LEAF, whole[1999].stamp))
    data[row] ^= 1 << bit
    file.write_bytes(data)
    bag = Bag(tmp_path / "bag")
    assert list(bag.messages()) == whole
    assert "not where its key belongs" in bag.damage


def test_every_kind_of_whole_bag_is_called_whole(tmp_path: Path) -> None:
    for storage, compression in KINDS:
        path = tmp_path / f"{storage}{compression}"
        write_texts(path, 100, storage=storage, compression=compression, split_seconds=0.3)
        before = {file: file.read_bytes() for file in path.iterdir()}
        assert repair(path).damage == ""
        assert {file: file.read_bytes() for file in path.iterdir()} == before
