"""Biovision hierarchy (.bvh): a tree of joints with Euler-angle channels, and a table of numbers.

The header's frame count is not trusted: all frames in the file are read.
"""

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import MAX_FRAMES
from pallas_ros.body.rotations import Array
from pallas_ros.files.opening import open_regular
from pallas_ros.motion_files.source import END_SUFFIX, MAX_JOINTS, MAX_NAME, Source, require_finite

KIND = "BVH"
SUFFIXES = (".bvh",)
MAX_BYTES = 2 << 30
_CHANNEL = re.compile(r"([xyz])(position|rotation|scale)", re.IGNORECASE)
_HEADER = re.compile(r"(frames|frame\s*time)\s*:?\s*(.*)", re.IGNORECASE)
_AXES = {"x": 0, "y": 1, "z": 2}
_BLOCK_LINES = 4096
_KEPT = "surrogateescape"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_COMMENTS = ("#", "//")
"""Marks of lines that are not part of the format but that some tools and people add."""
_LONGEST_LINE = 1 << 22
"""Maximum characters per line; a frame of 2000 joints takes 100,000."""


@dataclass
class _Joint:
    name: str
    parent: int
    end: bool = False
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[tuple[str, int]] = field(default_factory=list)
    """(position, rotation or scale; axis), in the order of the columns."""
    first: int = 0
    """Column of the first channel."""


class _Lines:
    """Lines of a file that are neither blank nor comments, and the current line number for
    messages.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        start = file.read(2)
        file.seek(0)
        # joint names may be in any encoding
        encoding, errors = ("utf-16", "replace") if start in _UTF16 else ("utf-8", _KEPT)
        self._text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=None)
        self.path = path
        self.number = 0

    def fail(self, what: str) -> PallasError:
        what = _decoded(what)
        return PallasError(f"{self.path}: not a readable BVH file: {what} (line {self.number})")

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_LONGEST_LINE):
            self.number += 1
            if self.number == 1:
                line = line.removeprefix("\ufeff")
            line = line.strip().rstrip("\x00\x1a")
            if line and not line.startswith(_COMMENTS):
                yield line


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a BVH."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].upper() == b"HIERARCHY"


def read(path: Path) -> Source:
    """Read a BVH file.

    Raises:
        PallasError: it is not a BVH file, or has no frames.
    """
    with open_regular(path, "BVH file", MAX_BYTES) as file:
        lines = _Lines(path, file)
        stream = iter(lines)
        joints = _hierarchy(lines, stream)
        announced, frame_time, stream = _motion_header(lines, stream)
        width = sum(len(joint.channels) for joint in joints)
        table, remarks = _table(lines, stream, width, announced)
    if not len(table):
        raise PallasError(f"{path}: this BVH contains no frame of {width} numbers")
    _require_plausible(path, table)
    offsets = np.array([joint.offset for joint in joints])
    parents = np.array([joint.parent for joint in joints], dtype=np.intp)
    added = _displacements_are_added(joints, table, offsets)

    def pose(wanted: list[int]) -> tuple[Array, Array]:
        return _forward(joints, table, offsets, wanted, added)

    rest = offsets.copy()
    for index, parent in enumerate(parents):
        if parent >= 0:
            rest[index] += rest[parent]
    if any(kind == "scale" for joint in joints for kind, _ in joint.channels):
        remarks.append("scale channels ignored")
    fps = 1.0 / frame_time if frame_time > 0 else 0.0
    names = [joint.name for joint in joints]
    return Source(KIND, names, parents, len(table), fps, pose, rest, remarks=remarks)


def _hierarchy(lines: _Lines, stream: Iterator[str]) -> list[_Joint]:
    """Parse the joints up to the line MOTION, parents before children, including end sites."""
    if next(stream, "").upper() != "HIERARCHY":
        raise lines.fail("it does not begin with HIERARCHY")
    joints: list[_Joint] = []
    open_joints: list[int] = []
    waiting: _Joint | None = None
    columns = 0
    for line in stream:
        for part in _statements(line):
            keyword, _, rest = part.partition(" ")
            keyword = keyword.upper()
            rest = rest.strip()
            if keyword == "MOTION":
                if open_joints or waiting is not None or not joints:
                    raise lines.fail("a brace is missing before MOTION")
                return joints
            if keyword in ("ROOT", "JOINT", "END", "ENDSITE"):
                waiting = _joint(lines, keyword, _decoded(rest), joints, open_joints)
            elif keyword == "{":
                if waiting is None:
                    raise lines.fail("a brace opens without a joint")
                joints.append(waiting)
                open_joints.append(len(joints) - 1)
                waiting = None
            elif keyword == "}":
                if not open_joints:
                    raise lines.fail("a brace closes that was not opened")
                open_joints.pop()
            elif not open_joints:
                raise lines.fail(f"'{part[:40]}' is outside every joint")
            elif keyword == "OFFSET":
                joints[open_joints[-1]].offset = _numbers(lines, rest, 3)
            elif keyword == "CHANNELS":
                joint = joints[open_joints[-1]]
                if joint.channels:
                    raise lines.fail(f"joint '{joint.name[:40]}' has channels twice")
                joint.channels = _channels(lines, rest)
                joint.first = columns
                columns += len(joint.channels)
            else:
                raise lines.fail(f"'{part[:40]}' is not part of a hierarchy")
    raise lines.fail("it ends before MOTION")


def _statements(line: str) -> Iterator[str]:
    """Split a line into statements: braces may be on the same line as a keyword."""
    for part in re.split(r"([{}])", line):
        if part := " ".join(part.split()):
            yield part


def _joint(
    lines: _Lines, keyword: str, name: str, joints: list[_Joint], open_joints: list[int]
) -> _Joint:
    if len(joints) >= MAX_JOINTS:
        raise lines.fail(f"more than {MAX_JOINTS} joints")
    if len(name) > MAX_NAME:
        raise lines.fail(f"a joint's name of {len(name)} characters (at most {MAX_NAME})")
    if (keyword == "ROOT") != (not open_joints):
        raise lines.fail(f"{keyword} '{name[:40]}' is misplaced")
    parent = open_joints[-1] if open_joints else -1
    if keyword.startswith("END"):
        return _Joint(joints[parent].name + END_SUFFIX, parent, end=True)
    return _Joint(name or f"joint {len(joints)}", parent)


def _decoded(text: str) -> str:
    """Return text without the surrogates of bytes that are not UTF-8: it is then read as
    latin-1.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", _KEPT).decode("latin-1")
    return text


def _number(text: str) -> float:
    """Parse a number in C, Fortran or decimal-comma notation."""
    return float(text.replace(",", ".").replace("D", "e").replace("d", "e"))


def _numbers(lines: _Lines, text: str, count: int) -> tuple[float, ...]:
    parts = text.split()
    try:
        values = tuple(_number(part) for part in parts[:count])
    except ValueError:
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise lines.fail(f"'{text[:40]}' is not {count} numbers")
    return values


def _channels(lines: _Lines, text: str) -> list[tuple[str, int]]:
    """Return the named channels; the preceding count is not needed."""
    found = []
    for word in text.split()[1:]:
        match = _CHANNEL.fullmatch(word)
        if match is None:
            raise lines.fail(f"'{word[:40]}' is not a channel")
        found.append((match[2].lower(), _AXES[match[1].lower()]))
    if len(found) > 9:
        raise lines.fail(f"a joint of {len(found)} channels")
    return found


def _motion_header(lines: _Lines, stream: Iterator[str]) -> tuple[int | None, float, Iterator[str]]:
    """Return frame count and frame time in s, in either order, and the following lines.

    Missing or invalid values become None and 0.
    """
    announced = None
    frame_time = 0.0
    timed = False
    for line in stream:
        found = _HEADER.match(line)
        if found is None and timed:
            return announced, frame_time, itertools.chain([line], stream)
        if found is None:
            raise lines.fail(f"'{line[:40]}' appears instead of 'Frames:' or 'Frame Time:'")
        try:
            number = _number(found[2].split()[0])
        except (ValueError, IndexError):
            number = 0.0
        if found[1].lower() == "frames":
            announced = int(number) if 0 <= number < 1e15 else None
        else:
            timed = True
            frame_time = number if np.isfinite(number) else 0.0
    if not timed:
        raise lines.fail("it ends before 'Frame Time:'")
    return announced, frame_time, stream


def _table(
    lines: _Lines, stream: Iterator[str], width: int, announced: int | None
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the complete rows (T, width), and remarks on missing data."""
    if not width:
        raise lines.fail("no joint has channels")
    blocks: list[NDArray[np.float64]] = []
    rows: list[list[float]] = []
    row: list[float] = []  # a frame may span several lines
    count = 0
    for line in stream:
        try:
            row += [float(part) for part in line.split()]
        except ValueError:
            try:
                row += [_number(part) for part in line.split()]
            except ValueError:
                raise lines.fail(f"'{line[:40]}' is not a row of numbers") from None
        if len(row) > width:
            raise lines.fail(f"a frame of {len(row)} numbers for {width} channels")
        if len(row) < width:
            continue
        rows.append(row)
        row = []
        count += 1
        if count > MAX_FRAMES:
            raise PallasError(f"{lines.path}: more than {MAX_FRAMES} frames; cut it into parts")
        if len(rows) == _BLOCK_LINES:
            blocks.append(np.array(rows))
            rows = []
    remarks = []
    if row:
        remarks.append(f"its last frame is truncated ({len(row)} of {width} numbers) and omitted")
    if announced is not None and announced != count:
        remarks.append(f"its header announces {announced} frames, but it contains {count}")
    blocks.append(np.array(rows).reshape(-1, width))
    return np.concatenate(blocks), remarks


def _require_plausible(path: Path, table: NDArray[np.float64]) -> None:
    require_finite(path, table)
    if np.abs(table).max() > 1e9:
        frame = int(np.argmax(np.abs(table).max(axis=1) > 1e9))
        raise PallasError(
            f"{path}: frame {frame} contains a number beyond 1e9, which is neither an angle nor a"
            " position; repair or cut it"
        )


def _displacements_are_added(
    joints: list[_Joint], table: NDArray[np.float64], offsets: Array
) -> bool:
    """Whether position channels below the root are added to the offsets or replace them.

    Few exporters add them. Bones keep their length: the interpretation closer to the offset's
    length is chosen.
    """
    error = np.zeros(2)
    sample = table[:: max(len(table) // 200, 1)]
    for joint, offset in zip(joints, offsets, strict=True):
        if joint.parent < 0 or not any(kind == "position" for kind, _ in joint.channels):
            continue
        length = np.linalg.norm(offset)
        for case in (0, 1):
            place = _place(joint, sample, offset, added=bool(case))
            error[case] += np.abs(np.linalg.norm(place, axis=1) - length).mean()
    return bool(error[1] < error[0])


def _place(joint: _Joint, table: NDArray[np.float64], offset: Array, added: bool) -> Array:
    """Return the position (T, 3) of a joint in its parent's frame."""
    place = np.tile(offset, (len(table), 1))
    for column, (kind, axis) in enumerate(joint.channels, joint.first):
        if kind == "position":
            place[:, axis] = table[:, column] + (offset[axis] if added else 0.0)
    return place


def _forward(
    joints: list[_Joint],
    table: NDArray[np.float64],
    offsets: Array,
    wanted: list[int],
    added: bool,
) -> tuple[Array, Array]:
    """Return positions (T, k, 3) and global orientations (T, k, 4) of the joints ``wanted``."""
    needed: set[int] = set()
    for above in wanted:
        while above >= 0 and above not in needed:
            needed.add(above)
            above = joints[above].parent
    world: dict[int, tuple[Array, Array]] = {}
    for index in sorted(needed):
        joint = joints[index]
        place = _place(joint, table, offsets[index], added and joint.parent >= 0)
        turn = _turn(joint, table)
        if joint.parent >= 0:
            p_parent, q_parent = world[joint.parent]
            place = p_parent + rotations.rotate(q_parent, place)
            turn = rotations.multiply(q_parent, turn)
        world[index] = (place, turn)
    positions = np.stack([world[index][0] for index in wanted], axis=1)
    return positions, rotations.normalise(np.stack([world[index][1] for index in wanted], axis=1))


def _turn(joint: _Joint, table: NDArray[np.float64]) -> Array:
    """Return a joint's local rotation (T, 4): the product of its channels, the first outermost."""
    turn: Array = np.tile(rotations.IDENTITY, (len(table), 1))
    for column, (kind, axis) in enumerate(joint.channels, joint.first):
        if kind == "rotation":
            half = np.radians(table[:, column]) / 2
            single = np.zeros_like(turn)
            single[:, axis] = np.sin(half)
            single[:, 3] = np.cos(half)
            turn = rotations.multiply(turn, single)
    return turn
