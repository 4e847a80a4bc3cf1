"""Mutations that preserve a file's structure, driven by a `random.Random`; in the tests, Hypothesis
provides it.
"""

import copy
import io
import random
import re
import zipfile
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

ElementTree.register_namespace("", "http://www.collada.org/2005/11/COLLADASchema")

BYTES = (b"\0", b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\n", b"'")
NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "0",
    "-1",
    "1e300",
    "-1e300",
    "1e-320",
    "1e12",
    "9" * 400,
    "2147483648",
    "1099511627776",
    "",
    "x",
    "0x7fffffff",
    "1e999",
    "0.5",
)
TEXTS = (
    "",
    "x" * 10_000,
    "é" * 50,
    "\0",
    "\x1b[31m",
    "../../../../etc/passwd",
    "/dev/zero",
    "a b",
    "'",
    "${x}",
    "%s%n",
    "{0}",
    "nan",
    "robot",
    "\n",
    "-",
    "[" * 3000,
    "{a: " * 3000,
    "*a",
    "&a [*a]",
    "!!python/none x",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e300,
    float("nan"),
    float("inf"),
    10**18,
    10**400,
    "",
    "x" * 10_000,
    [],
    {},
    [1, 2],
    {"a": 1},
    [[[]]],
    "nan",
    1e-300,
    -0.0,
    [None] * 3,
    [float("nan")] * 3,
    ["x"] * 7,
    [0] * 4,
    {"x": {"y": {"z": []}}},
)


def bytes_of(data: bytes, draw: random.Random) -> bytes:
    """Change, remove, insert, repeat or truncate bytes."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        at = draw.randrange(len(out) + 1)
        kind = draw.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << draw.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = draw.randrange(256)
        elif kind == 2:
            del out[at : at + draw.choice((1, 2, 8, 100, 5000))]
        elif kind == 3:
            out[at:at] = draw.choice(BYTES) * draw.choice((1, 1, 100))
        elif kind == 4:
            piece = draw.choice(BYTES)
            out[at : at + len(piece)] = piece
        elif kind == 5:
            other = draw.randrange(len(out) + 1)
            out[at:at] = out[other : other + draw.choice((4, 64, 1000))]
        else:
            del out[at:]
    return bytes(out)


_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def text_of(data: bytes, draw: random.Random) -> bytes:
    """Change, repeat, move or remove a number, word or line of a text; sometimes mutate bytes."""
    out = data
    for _ in range(draw.choice((1, 1, 2, 5))):
        kind = draw.randrange(6)
        if kind <= 1:
            out = _replace(out, _NUMBER, draw.choice(NUMBERS).encode(), draw)
        elif kind == 2:
            out = _replace(out, re.compile(rb"[A-Za-z_]\w*"), _some_text(draw), draw)
        elif kind == 3:
            out = _lines(out, draw)
        elif kind == 4:
            out = bytes_of(out, draw)
        else:
            at = draw.randrange(len(out) + 1)
            out = out[:at] + _some_text(draw) + out[at:]
    return out


def _some_text(draw: random.Random) -> bytes:
    return draw.choice(TEXTS).encode("utf-8", "surrogateescape")


def _replace(data: bytes, pattern: re.Pattern[bytes], by: bytes, draw: random.Random) -> bytes:
    """Replace one match near a random position."""
    found = pattern.search(data, draw.randrange(len(data) + 1)) or pattern.search(data)
    return data if found is None else data[: found.start()] + by + data[found.end() :]


def _lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    other = draw.randrange(len(lines))
    kind = draw.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at:at] = [lines[other]] * draw.choice((1, 2, 3000))
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        del lines[at : at + draw.choice((5, 50))]
    return b"\n".join(lines)


def tree_of(document: Any, draw: random.Random) -> Any:
    """Replace, remove, repeat, rename or nest parts of a document of mappings, lists and
    scalars.
    """
    document = copy.deepcopy(document)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            return _some_value(draw)
        holder, key = draw.choice(places)
        kind = draw.randrange(8)
        if kind <= 2:
            holder[key] = _some_value(draw)
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, name = draw.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = copy.deepcopy(other[name])
        elif kind == 5 and isinstance(holder, dict):
            holder[draw.choice(TEXTS[:16])] = holder.pop(key)
        elif kind == 6 and isinstance(holder, list):
            holder[key:key] = [holder[key]] * draw.choice((1, 2, 1000))
        elif isinstance(holder[key], (int, float)):
            holder[key] = _times(holder[key], draw.choice((-1, 0, 1e6, 1e-6, 1.5)))
    return document


def _some_value(draw: random.Random) -> Any:
    """Return a copy, so that changes for one input do not affect the next."""
    return copy.deepcopy(draw.choice(VALUES))


def _times(value: int | float, factor: float) -> int | float:
    try:
        return value * factor
    except OverflowError:  # of an integer that no float holds
        return value * round(factor)


def _places(node: Any, depth: int = 0) -> Any:
    """Return (mapping or list, key) of all entries of a document."""
    if depth >= 30 or not isinstance(node, (dict, list)):
        return
    keys = node if isinstance(node, dict) else range(len(node))
    for key in list(keys):
        yield node, key
        yield from _places(node[key], depth + 1)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_of(data: bytes, draw: random.Random) -> bytes:
    """Mutate the tree or the text of a YAML document."""
    if draw.random() < 0.4:
        return text_of(data, draw)
    document = tree_of(yaml.safe_load(data), draw)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False).encode("utf-8", "surrogatepass")


def xml_of(data: bytes, draw: random.Random) -> bytes:
    """Mutate attributes, elements and their order in an XML document, or its text."""
    if draw.random() < 0.3:
        return text_of(data, draw)
    root = ElementTree.fromstring(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        elements = list(root.iter())
        element = draw.choice(elements)
        other = draw.choice(elements)
        kind = draw.randrange(7)
        if kind <= 2 and element.attrib:
            key = draw.choice(sorted(element.attrib))
            element.set(key, _attribute(element.get(key, ""), draw))
        elif kind == 3 and len(element):
            element.remove(element[draw.randrange(len(element))])
        elif kind == 4 and element is not root:
            other.append(copy.deepcopy(element))
        elif kind == 5:
            element.tag = draw.choice((other.tag, "x", "robot", "joint"))
        elif element.attrib and other.attrib:
            key = draw.choice(sorted(element.attrib))
            other.set(key, element.get(key, ""))
    try:
        return ElementTree.tostring(root)
    except (ValueError, TypeError):
        return text_of(data, draw)


def _attribute(value: str, draw: random.Random) -> str:
    if draw.random() < 0.7:
        words = value.split() or [""]
        words[draw.randrange(len(words))] = draw.choice(NUMBERS)
        return " ".join(words)
    return "".join(c for c in draw.choice(TEXTS) if c.isprintable())


def npz_of(data: bytes, draw: random.Random) -> bytes:
    """Mutate values, types, shapes, names and headers of an archive of arrays, or its bytes."""
    if draw.random() < 0.25:
        return bytes_of(data, draw)
    with np.load(io.BytesIO(data)) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    members: dict[str, bytes] = {}
    for _ in range(draw.choice((1, 1, 2, 3))):
        name = draw.choice(sorted(arrays)) if arrays else "x"
        if name in arrays:
            _change_array(arrays, name, draw)
    for name, value in arrays.items():
        out = io.BytesIO()
        np.lib.format.write_array(out, np.asarray(value), allow_pickle=True)
        members[f"{name}.npy"] = out.getvalue()
    if members and draw.random() < 0.3:
        name = draw.choice(sorted(members))
        members[name] = _change_header(members[name], draw)
    out = io.BytesIO()
    kind = draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    with zipfile.ZipFile(out, "w", kind) as archive_out:
        for name, member in members.items():
            archive_out.writestr(name, member)
    whole = out.getvalue()
    return bytes_of(whole, draw) if draw.random() < 0.1 else whole


_TYPES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int64",
    "uint64",
    "bool",
    "complex128",
    "U4",
    "S3",
    "O",
    ">f8",
)


def _change_array(arrays: dict[str, Any], name: str, draw: random.Random) -> None:
    value = np.array(arrays[name])
    kind = draw.randrange(9)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[draw.choice((*arrays, "extra", "x" * 1000, "a/b"))] = arrays.pop(name)
    elif kind == 2:
        try:
            arrays[name] = value.astype(draw.choice(_TYPES))
        except (ValueError, TypeError):
            arrays[name] = np.array([None, {}], dtype=object)
    elif kind == 3:
        arrays[name] = (
            value[draw.choice((slice(0, 0), slice(0, 1), slice(None, -1)))]
            if value.ndim
            else value[None]
        )
    elif kind == 4:
        arrays[name] = draw.choice(
            (value.reshape(-1), value[None], np.array(0.0), np.array("x" * 1000), np.zeros((0, 3)))
        )
    elif kind == 5 and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # of 1e300 in single precision: an infinite value
            value *= draw.choice((0.0, -1.0, 1e6, 1e12, 1e300, 1e-300, np.nan))
        arrays[name] = value
    elif value.dtype.kind == "f" and value.size:
        flat = value.reshape(-1)
        start = draw.randrange(flat.size)
        flat[start : start + draw.choice((1, 1, 7, flat.size))] = draw.choice(
            (np.nan, np.inf, -np.inf, 1e300, 1e12, -1e12, 0.0, 1e-320)
        )
        arrays[name] = value
    elif value.dtype.kind in "iu" and value.size:
        value.reshape(-1)[draw.randrange(value.size)] = np.iinfo(value.dtype).max
        arrays[name] = value
    elif value.dtype.kind == "U" and value.size:
        value = value.astype(object)
        value.reshape(-1)[draw.randrange(value.size)] = (
            draw.choice(TEXTS[:10]) or value.reshape(-1)[0]
        )
        arrays[name] = value.astype(str)


def _change_header(member: bytes, draw: random.Random) -> bytes:
    """Replace shape, type or order in the text of a ``.npy`` header, keeping its length."""
    length = int.from_bytes(member[8:10], "little")
    text = member[10 : 10 + length]
    text = draw.choice(
        (
            re.sub(
                rb"\(.*?\)",
                draw.choice(
                    (
                        b"(1099511627776,)",
                        b"(-1,)",
                        b"(4294967296, 4294967296)",
                        b"()",
                        b"(0, 99999999999)",
                        str((1,) * 40).encode(),
                        b"(2.5,)",
                        b"(" * 500,
                    )
                ),
                text,
                count=1,
            ),
            re.sub(
                rb"'[<>|=][^']*'",
                draw.choice(
                    (
                        b"'<f16'",
                        b"'|O'",
                        b"'<U999999999'",
                        b"'<U0'",
                        b"'|V8'",
                        b"[('x', '<f8')]",
                        b"'<M8[s]'",
                        b"'>c16'",
                        b"[" * 500,
                    )
                ),
                text,
                count=1,
            ),
            text.replace(b"False", draw.choice((b"True", b"None", b"x"))),
            text_of(text, draw),
        )
    )
    text = text[:60_000]
    return member[:8] + len(text).to_bytes(2, "little") + text + member[10 + length :]
