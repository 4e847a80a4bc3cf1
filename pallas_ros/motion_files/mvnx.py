"""Xsens MVN (.mvnx): XML with the position (m) and orientation of every segment, z up."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array
from pallas_ros.files.opening import open_regular
from pallas_ros.files.xml_text import walk_xml
from pallas_ros.motion_files.source import MAX_JOINTS, Source, check_frames

KIND = "MVNX"
SUFFIXES = (".mvnx",)
MAX_BYTES = 4 << 30
_MAX_ELEMENTS = 50_000_000
_BLOCK_BYTES = 1 << 20
_LONGEST_TEXT = 1 << 20
"""Maximum characters of an element that are kept; those of 2000 segments take 100,000."""
_PARENTS = {
    **{"Pelvis": "", "L5": "Pelvis", "L3": "L5", "T12": "L3", "T8": "T12"},
    **{"Neck": "T8", "Head": "Neck"},
    **{
        side + segment: (side if parent not in ("T8", "Pelvis") else "") + parent
        for side in ("Left", "Right")
        for segment, parent in (
            *(("Shoulder", "T8"), ("UpperArm", "Shoulder"), ("ForeArm", "UpperArm")),
            *(("Hand", "ForeArm"), ("UpperLeg", "Pelvis"), ("LowerLeg", "UpperLeg")),
            *(("Foot", "LowerLeg"), ("Toe", "Foot")),
        )
    },
}
"""Segment of Xsens's body model -> its parent."""
_REST = ("identity", "tpose", "npose")
"""Frame types that are calibration poses; in the first every orientation is the identity."""


@dataclass
class _Take:
    """Data collected while parsing (a `pallas_ros.files.xml_text.Target`)."""

    path: Path
    rate: float = 0.0
    labels: list[str] = field(default_factory=list)
    frames: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)
    poses: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    skipped: int = 0
    _kind: str = ""
    _wanted: str = ""
    _text: list[str] = field(default_factory=list)
    _length: int = 0
    _values: dict[str, str] = field(default_factory=dict)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.split(":")[-1]
        if name == "subject" and not self.rate:
            self.rate = _number(attributes.get("frameRate", ""))
        elif name == "segment" and "label" in attributes:
            if len(self.labels) >= MAX_JOINTS:
                raise PallasError(f"{self.path}: more than {MAX_JOINTS} segments")
            self.labels.append(attributes["label"])
        elif name == "frame":
            self._kind = attributes.get("type", "normal")
            self._values = {}
        elif name in ("position", "orientation"):
            self._wanted = name
            self._text = []
            self._length = 0

    def data(self, text: str) -> None:
        if self._wanted and self._length <= _LONGEST_TEXT:
            self._text.append(text)
            self._length += len(text)

    def end(self, tag: str) -> None:
        name = tag.split(":")[-1]
        if name == self._wanted:
            self._values[name] = "".join(self._text)
            self._wanted = ""
        elif name == "frame":
            self._frame()

    def _frame(self) -> None:
        count = len(self.labels)
        values = (
            _numbers(self._values.get("position", ""), 3 * count),
            _numbers(self._values.get("orientation", ""), 4 * count),
        )
        if values[0] is None or values[1] is None:
            self.skipped += 1
            return
        pair = (values[0].reshape(count, 3), values[1].reshape(count, 4))
        if self._kind in _REST:
            self.poses.setdefault(self._kind, pair)
        elif self._kind == "normal":
            self.frames.append(pair)
            check_frames(self.path, len(self.frames))


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an MVNX."""
    return b"<mvnx" in head


def read(path: Path) -> Source:
    """Read an MVNX file: the first subject's segments.

    Raises:
        PallasError: it is not an MVNX file, or has no frame with positions and orientations.
    """
    take = _Take(path)
    with open_regular(path, KIND, MAX_BYTES) as file:
        walk_xml(_blocks(file), str(path), KIND, take, _MAX_ELEMENTS)
    if not take.labels or not take.frames:
        raise PallasError(
            f"{path}: this MVNX contains no frame with the positions and orientations of its"
            f" {len(take.labels)} segments; export it with both"
        )
    names = take.labels
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    parents = [first.get(_PARENTS.get(name, ""), -1) for name in names]
    if any(parent >= index for index, parent in enumerate(parents)):
        raise PallasError(f"{path}: its segments are not in Xsens's order")
    positions = np.stack([position for position, _ in take.frames])
    wxyz = np.stack([orientation for _, orientation in take.frames])
    q = rotations.normalise(wxyz[..., [1, 2, 3, 0]])
    kind = next((kind for kind in _REST if kind in take.poses), None)
    rest = None
    if kind is not None:
        rest, turn = take.poses[kind]
        q = rotations.multiply(q, rotations.inverse(rotations.normalise(turn[:, [1, 2, 3, 0]])))

    def pose(wanted: list[int]) -> tuple[Array, Array]:
        return positions[:, wanted], q[:, wanted]

    remarks = [f"{take.skipped} frames without all segments omitted"] if take.skipped else []
    return Source(
        kind=KIND,
        names=names,
        parents=np.array(parents, dtype=np.intp),
        frames=len(positions),
        fps=take.rate,
        pose=pose,
        rest=rest,
        up="z",
        metres=1.0,
        remarks=remarks,
    )


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _numbers(text: str, count: int) -> NDArray[np.float64] | None:
    """Parse ``count`` finite numbers, or return None."""
    try:
        values = np.array([float(part) for part in text.split()])
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None
