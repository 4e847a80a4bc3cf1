"""Validate the meshes of robot descriptions (STL, OBJ, COLLADA).

Counts must match the file size, numbers must be finite, references must not be circular. The
libraries that load meshes (assimp, trimesh) allocate what a file states, recurse into its nodes and
open what it refers to.
"""

import io
import itertools
import os
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import check_regular, read_bytes
from pallas_ros.files.xml_text import parse_xml

MAX_BYTES = 64 << 20
MAX_TEXT_BYTES = 32 << 20
"""For text (OBJ, COLLADA, STL); the largest of example-robot-data has 29 MB."""
MAX_FACES = 1_000_000
"""The largest mesh of example-robot-data has 70,000."""
FARTHEST = 1e7
"""Maximum coordinate of a robot part, in mm or m."""
Points = NDArray[np.floating[Any]]
_MAX_POINTS = 3 * MAX_FACES
_LONGEST_LINE = 1 << 20
_STL_HEADER = 84
_STL_FACE = 50
_NODES = 100_000
_PARTS = 2000
"""Trimesh and assimp need up to 2 ms for each."""
_PRIMITIVES = ("triangles", "polylist", "polygons", "lines", "tristrips", "trifans")


def check_mesh(path: str | Path) -> None:
    """Reject a mesh that is unsafe to load with a library.

    Raises:
        PallasError: the file is missing, damaged or too large, or its numbers are not finite.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".stl":
        _check_stl(path, read_bytes(path, "mesh", MAX_BYTES))
    elif suffix == ".obj":
        _check_obj(path, read_bytes(path, "OBJ mesh", MAX_TEXT_BYTES))
    elif suffix == ".dae":
        _check_collada(path, read_bytes(path, "COLLADA mesh", MAX_TEXT_BYTES))
    else:  # the libraries recognise other formats, also archives, by their contents
        raise PallasError(f"{path}: meshes are read from .stl, .obj and .dae files; convert it")


def _refuse(path: str | Path, why: str) -> PallasError:
    return PallasError(f"{path}: not a readable mesh: {why}")


def _check_stl(path: str | Path, data: bytes) -> None:
    count = int.from_bytes(data[80:84], "little")
    if len(data) >= _STL_HEADER and len(data) == _STL_HEADER + _STL_FACE * count:
        faces = np.frombuffer(data, np.uint8, offset=_STL_HEADER).reshape(count, _STL_FACE)
        _check_points(path, np.ascontiguousarray(faces[:, :48]).view("<f4"), count)
    elif data.lstrip()[:5].lower() == b"solid" and b"\0" not in data:
        _check_stl_text(path, data)
    else:
        raise _refuse(path, f"an STL that states {count} faces and has {len(data)} bytes")


def _check_stl_text(path: str | Path, data: bytes) -> None:
    if len(data) > MAX_TEXT_BYTES:
        raise _refuse(path, f"an STL text of more than {MAX_TEXT_BYTES >> 20} MB")
    points = array("d")
    words = _words(data)
    for word in words:
        if word.lower() == b"vertex":
            _append(path, points, itertools.islice(words, 3))
    if not points or len(points) % 9:
        raise _refuse(path, "an STL text without complete facets")
    _check_points(path, np.asarray(points), len(points) // 9)


def _words(data: bytes) -> Iterator[bytes]:
    """Return the words of a text one by one: a list of all takes 20 times its size."""
    return (found[0] for found in re.finditer(rb"\S+", data))


def _append(path: str | Path, points: "array[float]", words: Iterable[bytes]) -> None:
    """Append the coordinates of a point."""
    if len(points) >= 3 * _MAX_POINTS:
        raise _refuse(path, f"it has more than {_MAX_POINTS} points")
    try:
        points.extend(map(float, words))
    except ValueError as error:
        raise _refuse(path, f"a coordinate is not a number ({error})") from None


def _lines(path: str | Path, data: bytes) -> Iterator[bytes]:
    """Return the lines of an OBJ file one by one, continued lines joined."""
    file = io.BytesIO(data.replace(b"\\\n", b" ").replace(b"\r", b"\n"))
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise _refuse(path, f"a line of more than {_LONGEST_LINE >> 20} MB")
        yield line


def _check_obj(path: str | Path, data: bytes) -> None:
    points = array("d")
    faces = 0
    corners = 0
    highest = 0
    if b"\0" in data:  # some readers skip it, others do not
        raise _refuse(path, "an OBJ with null bytes")
    for line in _lines(path, data):
        words = line.split()
        if not words:
            continue
        if words[0] in (b"v", b"vn", b"vt"):
            if words[0] == b"v" and len(words) < 4:
                raise _refuse(path, "an OBJ vertex without three coordinates")
            _append(path, points, words[1:4])
        elif words[0] == b"f":
            faces += 1
            corners += len(words) - 1
            highest = max(highest, *map(_index, words[1:]), 0)
        elif words[0] == b"mtllib":
            _check_beside(path, words[1:])
    if corners > 4 * MAX_FACES:
        raise _refuse(path, f"faces of {corners} corners in total")
    _check_points(path, np.asarray(points), faces)
    if highest > len(points):
        raise _refuse(path, f"a face with vertex {highest}")


def _index(word: bytes) -> int:
    """Return the vertex of an OBJ face corner; 0 if counted from the end, -1 if not a number."""
    digits = word.split(b"/", 1)[0]
    return int(digits) if digits.isdigit() and len(digits) < 10 else 2**31 * digits.isdigit()


def _check_beside(path: str | Path, names: list[bytes]) -> None:
    """Reject materials that are not regular files, because the library opens them."""
    place = Path(path).parent / os.fsdecode(b" ".join(names))
    if os.path.exists(place):
        check_regular(place, "material library", MAX_BYTES)


def _check_collada(path: str | Path, data: bytes) -> None:
    root = parse_xml(data, str(path), "mesh", max_bytes=MAX_TEXT_BYTES)
    if _plain(root) != "COLLADA":
        raise _refuse(path, f"its outermost element is <{root.tag}>, a COLLADA file's is <COLLADA>")
    faces = 0
    for element in root.iter():
        kind = _plain(element)
        if kind == "float_array":
            points = _floats(path, element)
            _check_count(path, element, len(points))
            _check_points(path, points, 0)
        elif kind in ("int_array", "Name_array", "IDREF_array"):
            _check_count(path, element, sum(1 for _ in _values(element)))
        elif kind in ("matrix", "translate", "rotate", "scale", "lookat", "skew"):
            _check_points(path, _floats(path, element), 0)
        elif kind in _PRIMITIVES:
            faces += _count(path, element)
        elif kind in ("accessor", "vcount", "input"):
            _count(path, element)
        elif kind == "p" and not all(w.isdigit() and len(w) < 11 for w in _values(element)):
            raise _refuse(path, "a face with a vertex that is not a number")
    if faces > MAX_FACES:
        raise _refuse(path, f"it states {faces} faces (at most {MAX_FACES})")
    _check_instances(path, root)


def _count(path: str | Path, element: Element) -> int:
    """Return the count of an element, or 0; offsets and strides are checked too."""
    for name in ("count", "offset", "stride"):
        text = element.get(name, "0")
        if not text.isdigit() or len(text) > 10 or int(text) > 100 * MAX_FACES:
            raise _refuse(path, f"<{_plain(element)}> states {name} '{text}'")
    return int(element.get("count", "0"))


def _check_instances(path: str | Path, root: Element) -> None:
    """Reject nodes that instantiate themselves, or too many: instances are built recursively."""
    # Assimp finds the node of an instance by its id or its name, the scene itself included.
    nodes = {
        node.get(key, ""): node
        for node in root.iter()
        if _plain(node) in ("node", "visual_scene")
        for key in ("name", "id")
        if node.get(key)
    }
    parts = {
        geometry.get("id", ""): sum(_plain(element) in _PRIMITIVES for element in geometry.iter())
        for geometry in root.iter()
        if _plain(geometry) == "geometry"
    }
    most = max(parts.values(), default=0)
    sizes: dict[str, tuple[int, int]] = {}

    def named(name: str, above: tuple[str, ...]) -> tuple[int, int]:
        if name in above or len(above) > 50:
            raise _refuse(path, f"its node '{name}' contains itself, or is nested too deep")
        if name not in sizes and name in nodes:
            sizes[name] = expanded(nodes[name], (*above, name))
        return sizes.get(name, (1, 0))

    def expanded(node: Element, above: tuple[str, ...]) -> tuple[int, int]:
        """Count the nodes and the parts that a node expands to."""
        count = 1
        drawn = 0
        for element in node.iter():
            url = element.get("url", "").lstrip("#")
            kind = _plain(element)
            if kind in ("instance_geometry", "instance_controller"):
                drawn += parts.get(url, most)
            elif kind == "instance_node":
                below = named(url, above)
                count += below[0]
                drawn += below[1]
        return count, drawn

    one_key_each = {node: name for name, node in nodes.items()}.values()
    if sum(named(name, ())[0] for name in one_key_each) > _NODES:
        raise _refuse(path, f"its nodes expand to more than {_NODES} others")
    scenes = [element for element in root.iter() if _plain(element) == "visual_scene"]
    if sum(expanded(scene, (scene.get("id", ""),))[1] for scene in scenes) > _PARTS:
        raise _refuse(path, f"its scene has more than {_PARTS} parts; merge them")


def _plain(element: Element) -> str:
    return element.tag.rpartition(":")[2]


def _values(element: Element) -> Iterator[str]:
    return (found[0] for found in re.finditer(r"\S+", element.text or ""))


def _check_count(path: str | Path, element: Element, count: int) -> None:
    stated = element.get("count")
    if stated not in (None, str(count)):
        raise _refuse(path, f"<{_plain(element)}> of {count} values states a count of {stated}")


def _floats(path: str | Path, element: Element) -> Points:
    try:
        return np.fromiter(map(float, _values(element)), np.float64)
    except ValueError as error:
        raise _refuse(path, f"a coordinate is not a number ({error})") from None


def _check_points(path: str | Path, points: Points, faces: int) -> None:
    if faces > MAX_FACES:
        raise _refuse(path, f"it has {faces} faces (at most {MAX_FACES})")
    if not (np.abs(points) <= FARTHEST).all():
        raise _refuse(path, "coordinates that are not finite, or implausible for part of a robot")
