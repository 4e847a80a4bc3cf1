"""File readers: the smallest file beyond each limit."""

import io
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import TreeBuilder

import numpy as np
import pytest

from pallas_ros.core.errors import LONGEST_VALUE, PallasError, readable
from pallas_ros.core.resources import resource
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.npz import load_npz
from pallas_ros.files.opening import read_bytes, read_text
from pallas_ros.files.xml_text import MAX_BYTES, parse_xml, walk_xml
from pallas_ros.files.yaml_text import load_mapping, parse_yaml


def header(descr: str, shape: str, version: bytes = b"\1\0") -> bytes:
    """Return the beginning of a ``.npy`` member."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def refuse(path: Path, data: bytes, says: str) -> None:
    """Expect one short sentence, with little memory and time."""
    path.write_bytes(data)
    begun = time.process_time()
    tracemalloc.start()
    with pytest.raises(PallasError, match=says) as refused:
        load_npz(path, "motion file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert time.process_time() - begun < 5
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def stated_bomb(size: int) -> bytes:
    """An archive whose directory states an array of ``size`` bytes."""
    data = bytearray(archive({"a.npy": header("'<f8'", f"({size // 8},)") + bytes(1000)}))
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    return bytes(data)


GOOD = npz(a=np.arange(12.0).reshape(3, 4), names=np.array(["x", "yy"]))

BAD_NPZ: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it is empty"),
    "not a zip": (lambda: b"hello world", "not a zip archive"),
    "bare npy": (lambda: header("'<f8'", "(2,)") + bytes(16), "single array"),
    "cut short": (lambda: GOOD[: len(GOOD) // 2], "truncated"),
    "shape of 2^40": (
        lambda: archive({"a.npy": header("'<f8'", "(1099511627776,)") + bytes(64)}),
        "needs 8796093022208 bytes",
    ),
    "shape that overflows": (
        lambda: archive({"a.npy": header("'<f8'", "(4294967296, 4294967296)") + bytes(64)}),
        "truncated",
    ),
    "negative shape": (
        lambda: archive({"a.npy": header("'<f8'", "(-1,)") + bytes(64)}),
        "header is damaged",
    ),
    "many dimensions": (
        lambda: archive({"a.npy": header("'<f8'", str((1,) * 30)) + bytes(64)}),
        "30 dimensions",
    ),
    "objects": (
        lambda: npz(a=np.array([{}, None], dtype=object)),
        "structures and pickled objects",
    ),
    "structures": (
        lambda: archive({"a.npy": header("[('x', '<f8')]", "(1,)") + bytes(64)}),
        "structures and pickled objects",
    ),
    "strings without characters": (
        lambda: archive({"a.npy": header("'<U0'", "(1000000000,)") + bytes(64)}),
        "strings of zero length",
    ),
    "wide strings": (
        lambda: archive({"a.npy": header("'<U500000000'", "(1,)") + bytes(64)}),
        "truncated",
    ),
    "header of brackets": (
        lambda: archive({"a.npy": header("[" * 3000, "(1,)") + bytes(64)}),
        "its header is damaged",
    ),
    "header of signs": (
        lambda: archive({"a.npy": header("-" * 3900 + "1", "(1,)") + bytes(64)}),
        "its header is damaged",
    ),
    "large bomb": (
        lambda: stated_bomb(2_000_000_000),
        "would take 2000 MB",
    ),
    "bomb": (
        lambda: archive({"a.npy": header("'<f8'", "(40000000,)") + bytes(320_000_000)}),
        "would take 320 MB",
    ),
    "bomb of small numbers": (
        lambda: npz(a=np.zeros((250_000, 200), np.int8)),
        "has too many values for the file's size",
    ),
    "bombs of small numbers": (
        lambda: npz(**{f"a{n}": np.zeros((250_000, 100), np.int8) for n in range(2)}),
        "has too many values for the file's size",
    ),
    "thousands of arrays": (
        lambda: archive({f"{i}.npy": b"" for i in range(2000)}),
        "2000 arrays",
    ),
    "bzip2": (
        lambda: archive({"a.npy": header("'<f8'", "(1,)") + bytes(8)}, zipfile.ZIP_BZIP2),
        "uses a compression",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_archives_are_refused_in_one_sentence(case: str, tmp_path: Path):
    make, says = BAD_NPZ[case]
    refuse(tmp_path / "a.npz", make(), says)


def test_damaged_data_are_noticed(tmp_path: Path):
    """Modified compressed bytes: zlib errors and wrong checksums are reported as errors of the
    file.
    """
    for position in range(60, len(GOOD) // 3, 7):
        data = bytearray(GOOD)
        data[position] ^= 0xFF
        refuse(tmp_path / "a.npz", bytes(data), "not a readable motion file")


def test_good_archives_are_read(tmp_path: Path):
    path = tmp_path / "a.npz"
    arrays = {
        "a": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big_endian": np.arange(3, dtype=">i2"),
        "flag": np.bool_(True),
        "name": np.array("walk"),
        "half": np.ones(2, np.float16),
        "text": np.array([b"x", b"yy"]),
        "none": np.zeros((0, 22, 3), np.float32),
    }
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)
        found = load_npz(path, "motion file")
        assert found.keys() == arrays.keys()
        for key, value in arrays.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key], value)
        found["a"][0, 0] = 7.0  # writable, as numpy's own


def test_a_large_bomb_that_states_little_is_refused(tmp_path: Path):
    """2 GB of zeros whose directory states 1000 bytes."""
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a.npy", "w") as member,
    ):
        member.write(header("'<f8'", "(250000000,)"))
        for _ in range(2000):
            member.write(bytes(1_000_000))
    data = bytearray(path.read_bytes())
    refuse(path, bytes(data), "would take 2000 MB")
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    refuse(path, bytes(data), "Bad CRC-32")


def test_special_files_are_rejected_without_blocking(tmp_path: Path):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    for path, says in (
        (pipe, "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "a\0b", "null byte"),
        (tmp_path / ("x" * 5000), "File name too long"),
    ):
        with pytest.raises(PallasError, match=says):
            read_bytes(path, "motion file", 1000)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(10**13)  # sparse
    with pytest.raises(PallasError, match=r"1e\+04 GB is too large"):
        read_bytes(big, "motion file", 1000)
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(PallasError, match="not UTF-8 text \\(byte 3 is 0xe9\\)"):
        read_text(tmp_path / "latin", "motion file")


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "more than 100000 values"),
        ("a: &a [*a]", "is undefined, or refers to itself"),
        ("[" * 5000, "nested more than 40 levels"),
        ("{a: " * 5000, "nested more than 40 levels"),
        ("- " * 5000, "nested more than 40 levels"),
        ("a: " + "9" * 400, "an integer of 400 characters"),
        ("a: " + "9" * 10_000, "an integer of 10000 characters"),
        ("a: 0x" + "f" * 400, "an integer of 402 characters"),
        ("a: 1" + ":59" * 300, "an integer of 901 characters"),
        ("a: 2001-99-99", "a value that YAML cannot read"),
        ("a: !!int ''", "cannot read|not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [a, b]\n: 1", "unhashable"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("a: [1, 2\n", "line 2"),
        ("a: \x07", "control characters"),
        ("x, " * 900_000, "too many"),
    ],
)
def test_yaml_beyond_the_limits_is_refused(text: str, says: str):
    begun = time.process_time()
    with pytest.raises(PallasError, match=says) as refused:
        parse_yaml(text, "my.yaml", "robot configuration")
    assert time.process_time() - begun < 5
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_not_found(name: str):
    with pytest.raises(PallasError, match="no such file"):
        resource(name)


def test_yaml_within_the_limits_is_read(tmp_path: Path):
    text = "base: &b {x: 1, y: [1.5, .inf]}\nother: {<<: *b, x: 2}\nwhen: 2026-11-28\n"
    document = parse_yaml(text, "my.yaml", "configuration")
    assert document["other"] == {"x": 2, "y": [1.5, float("inf")]}
    path = tmp_path / "a.yaml"
    path.write_text("")
    assert load_mapping(path, "configuration") == {}
    for text in ("[1, 2]", "1: 2", "text"):
        path.write_text(text)
        with pytest.raises(PallasError, match="expected a mapping"):
            load_mapping(path, "configuration")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<a>" * 30_000, "more than 50 levels"),
        (b"<a>" + b"<b/>" * 250_000 + b"</a>", "more than 200000 elements"),
        (b"<a " + b" ".join(b'x%d="1"' % i for i in range(500)) + b"/>", "100 attributes"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "entities"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        (b"<a>", "no element found"),
        (b"", "no element found"),
        (b"<a>\0</a>", "not well-formed"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "unknown encoding"),
        (b" " * 20_000_001, "20 MB is too large"),
    ],
)
def test_xml_beyond_the_limits_is_refused(data: bytes, says: str):
    with pytest.raises(PallasError, match=says):
        parse_xml(data, "my.urdf", "URDF")


@pytest.mark.parametrize("start", ["<!--", "<a b='", "<?a ", "<a><b", "<a><![CDATA[x]]><!--"])
def test_a_long_xml_token_is_refused_early(start: str):
    """Expat searches for its end from its start with every part."""
    given = 0

    def parts() -> Iterator[bytes]:
        nonlocal given
        yield start.encode()
        for _ in range(20):
            given += 1
            yield b"x" * (1 << 20)

    with pytest.raises(PallasError, match="a tag or comment of more than 8 MB"):
        walk_xml(parts(), "my.mvnx", "MVNX", TreeBuilder(), 100)
    assert given < 12
    with pytest.raises(PallasError, match="a tag or comment of more than 8 MB"):
        parse_xml(start.encode() + b"x" * (MAX_BYTES - 100), "my.urdf", "URDF")


@pytest.mark.parametrize("text", [b"x ", "\u00e4".encode(), b"<![CDATA[x]]>", b"&lt;"])
def test_long_xml_text_is_read(text: bytes):
    data = b"<a>" + text * (10_000_000 // len(text)) + b"</a>"
    assert len(parse_xml(data, "my.dae", "mesh").text or "") >= 700_000


def test_json_beyond_the_limits_is_refused():
    for text, says in (
        ("[" * 200_000, "nested too deep|not JSON"),
        ("{", "not JSON"),
        ("", "not JSON"),
    ):
        with pytest.raises(PallasError, match=says):
            parse_json(text, "my.json", "checkpoint")
    assert parse_json('{"a": ' + "9" * 400 + "}", "my.json", "checkpoint")["a"] == float("inf")


def test_messages_echo_little_and_stay_on_one_line():
    assert str(PallasError("short: 'value'")) == "short: 'value'"
    long = PallasError(f"parameter 'x' is '{'v ' * 5000}', but must be a float")
    assert len(str(long)) < LONGEST_VALUE + 60
    assert str(long).endswith("but must be a float")
    listed = PallasError(f"'x' is {list(range(1000))}, but doesn't fit: known are 'a' and 'b'")
    assert len(str(listed)) < LONGEST_VALUE + 60
    assert str(listed).endswith("but doesn't fit: known are 'a' and 'b'")
    apart = (
        "'a' needs a package, which is not installed, for a reason that is long: pip install 'b'"
    )
    assert str(PallasError(apart)) == apart
    path = "/very/long/" + "folder/" * 30 + "file.npz"
    assert path in str(PallasError(f"{path}: no such file"))
    assert len(readable("word" * 5000)) <= LONGEST_VALUE
    assert len(readable("some words " * 5000)) <= 1500
    assert readable("two\nlines \x1b[31m") == "two lines \\x1b[31m"
    assert str(PallasError(f"'x' is '{'v ' * 500_000}': no")).endswith("': no")


@pytest.mark.parametrize("part", ["[", "{", "'", " '", ' "', "]", "[]", "a ", "\x1b", "\n", "/"])
def test_a_message_of_a_megabyte_is_shortened_at_once(part: str):
    begun = time.process_time()
    assert len(readable("parameter 'x' is " + part * (1_000_000 // len(part)))) <= 1500
    assert time.process_time() - begun < 2
