"""Smooths several bodies: one smoother per body id, bridging of missing frames, and bone lengths
stored in a file.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.smoother import Method, Smoother, SmootherSettings, shared_method
from hpstm_ros.smoothing.stamps import LEAP_NS, StampGate
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ, TOPIC_PALLAS_BODY
from pallas_ros.body.presence import MOST_BODIES, same_publisher

F64 = NDArray[np.float64]

FORGET_S = 5.0
"""A body not seen for this time is forgotten."""
_SEEN_S = 0.25
"""A body seen within this time is not replaced by a new one: seven frames at 30 Hz."""
_RENAMED_S = 0.5
_RENAMED_M = 0.25
_WALKS_M_S = 1.0
"""A new id within this time, distance and speed of a body's last position belongs to that body,
since two people cannot be in the same place.
"""
_SAME_FRAME = 0.75
"""Two ids less than this fraction of a frame apart are two people: a source that reassigns ids
needs a frame to do so, while the frames of a second source come at any time.
"""
_FRAMES_NS = (4_000_000, 200_000_000)
"""ns, range of frame intervals."""
_SLOWER = 1.05
"""Growth of the shortest interval per frame: it follows a source that slows from 60 to 30 Hz within
half a second.
"""
_ABSENT_NS = 250_000_000
"""ns, an id that returns within this time was never absent: the one between is another person."""
_MOST_NAMES = 1000
_LATE_FRAMES = 3
"""A frame later than this counts as lost."""


def method_for(method: str, topic: str) -> str:
    """Resolve ``auto``: bodies from PALLAS, which are smooth (docs/evidence/smoothing.md), are not
    changed, others are smoothed by the network.
    """
    if method != "auto":
        return method
    return "bypass" if topic == TOPIC_PALLAS_BODY else "hpstm"


@dataclass
class _Stream:
    smoother: Smoother
    delay: int
    """ns, latest delay from a body's stamp to its arrival."""
    last: int
    """ns, node's clock, of the last arrival."""
    at: F64 | None = None
    """(3,) m, mean of the joints seen last."""
    stamp: int = 0
    """ns, of the newest believed body."""
    own: int = 0
    """ns, of the newest one under the stream's own id."""
    source: str = ""
    """Id of that body as it came."""
    frame: int = round(1e9 / MODEL_RATE_HZ)
    """ns, shortest recent interval between bodies of one id."""
    stamps: StampGate = field(default_factory=StampGate)
    leaps: int = 0
    """Number of bodies whose stamps jumped."""


class Bodies:
    """Up to `MOST_BODIES` streams; they share one network.

    Args:
        settings: of every smoother.
        bones_file: bone lengths are loaded from it if it exists, and saved to it once those of the
            first body are fixed; None for neither.
    """

    def __init__(self, settings: SmootherSettings, bones_file: Path | None = None) -> None:
        self._bones_file = bones_file
        if bones_file is not None and bones_file.is_file():
            settings = replace(settings, bones=BoneLengths.load(bones_file))
            self._bones_file = None
        self._settings = settings
        self._method = shared_method(settings)
        self._streams: dict[str, _Stream] = {}
        self._renamed: dict[str, str] = {}  # id -> previous id of the person
        self._apart: set[str] = set()  # ids seen in a frame with their assigned body
        self.remark = ""
        self._remarked = 0

    def push(self, body: BodyFrame, now: int) -> list[BodyFrame]:
        """Take a body at ``now`` (ns, node's clock); returns the smoothed bodies that are due.

        Raises:
            PallasError: too many bodies.
        """
        came_as = body.body_id
        body = self._by_its_name(body, now)
        stream = self._streams.get(body.body_id) or self._admit(body.body_id, now)
        believed, remark = stream.stamps.take(body.stamp, now)
        if remark:
            stream.leaps += 1
            self.remark = f"body '{body.body_id[:40]}': {remark}"
            self._remarked = now
        if not believed:
            return []
        _locate(stream, body, came_as)
        if not 0 < body.newest_input <= body.stamp + LEAP_NS:  # unset, or from another clock
            body = replace(body, newest_input=body.stamp)
        stream.delay = now - body.stamp
        stream.last = now
        out = stream.smoother.restart(body, remark) if remark else stream.smoother.push(body)
        if self._bones_file is not None and stream.smoother.bones is not None:
            self._save(stream.smoother.bones, self._bones_file, now)
        return out

    def _save(self, bones: BoneLengths, path: Path, now: int) -> None:
        """Save the bone lengths once; a failure is a remark, since bodies matter more."""
        self._bones_file = None
        try:
            bones.save(path)
        except (PallasError, OSError) as error:
            self.remark = f"the bone lengths cannot be saved to bones_file: {error}"
            self._remarked = now

    def tick(self, now: int) -> list[BodyFrame]:
        """Bridge late frames; call at about the rate of the bodies."""
        late = round(_LATE_FRAMES * 1e9 / MODEL_RATE_HZ)
        out: list[BodyFrame] = []
        for name in list(self._streams):
            stream = self._streams[name]
            stream.last = min(stream.last, now)  # in case the clock was set back
            if now - stream.last > FORGET_S * 1e9:
                del self._streams[name]
            elif now - stream.last > late:
                out += stream.smoother.advance(now - stream.delay - late)
        return out

    def figures(self) -> dict[str, str]:
        """For diagnostics: each body and its failure counts."""
        return {name: _met(stream) for name, stream in self._streams.items()}

    def recent_remark(self, now: int) -> str:
        """The remark about stamps of the last few seconds, or empty."""
        return self.remark if 0 <= now - self._remarked <= FORGET_S * 1e9 else ""

    def _by_its_name(self, body: BodyFrame, now: int) -> BodyFrame:
        """The body under its previous id, since estimators assign new ids to the same person, some
        several times per second.

        A new id belongs to the body that was last seen at this position and is not in this frame,
        unless it comes from another publisher.
        """
        name = body.body_id
        if name in self._streams:
            stream = self._streams[name]
            returned = 0 <= body.stamp - stream.own < _ABSENT_NS
            if stream.source != name and (returned or _same_frame(stream, body)):
                self._part({other for other, was in self._renamed.items() if was == name})
            return body
        was = self._renamed.get(name)
        if was is not None and was in self._streams:
            if not _same_frame(self._streams[was], body):
                return replace(body, body_id=was)
            self._part({name})
        if name in self._apart:
            return body
        near = [
            other
            for other, stream in self._streams.items()
            if same_publisher(other, name) and _continues(stream, body, now)
        ]
        if len(near) != 1:
            return body
        if len(self._renamed) >= _MOST_NAMES:
            self._renamed.pop(next(iter(self._renamed)))
        self._renamed[name] = near[0]
        return replace(body, body_id=near[0])

    def _part(self, others: set[str]) -> None:
        """Separate ids that appeared in the same frame: they are different people."""
        for other in others:
            del self._renamed[other]
            if len(self._apart) >= _MOST_NAMES:
                self._apart.clear()
            self._apart.add(other)

    def _admit(self, name: str, now: int) -> _Stream:
        if len(self._streams) >= MOST_BODIES:
            longest = min(self._streams, key=lambda other: self._streams[other].last)
            if now - self._streams[longest].last < _SEEN_S * 1e9:
                names = ", ".join(other[:40] for other in self._streams)
                raise PallasError(
                    f"body '{name[:40]}' is rejected, because at most {MOST_BODIES} bodies are"
                    f" smoothed at once ({names})"
                )
            del self._streams[longest]
        stream = self._streams[name] = _Stream(Smoother(self._settings, self._make), 0, now)
        return stream

    def _make(self, settings: SmootherSettings) -> Method | None:
        return self._method(settings)


def _middle(body: BodyFrame) -> F64:
    """Mean (3,) m of the visible joints; NaN if there are none."""
    seen = body.valid & np.isfinite(body.positions).all(axis=-1)
    return np.asarray(body.positions[seen].mean(axis=0) if seen.any() else np.full(3, np.nan))


def _locate(stream: _Stream, body: BodyFrame, came_as: str) -> None:
    """Record where and when a body was seen."""
    interval = body.stamp - stream.stamp
    if stream.source == came_as and _FRAMES_NS[0] <= interval <= _FRAMES_NS[1]:
        stream.frame = min(interval, round(_SLOWER * stream.frame))
    stream.at = _middle(body)
    stream.stamp = body.stamp
    stream.source = came_as
    if came_as == body.body_id:
        stream.own = body.stamp


def _same_frame(stream: _Stream, body: BodyFrame) -> bool:
    """Whether the stream's newest body came under another id, and in the same frame."""
    apart = abs(body.stamp - stream.stamp)
    return stream.source != body.body_id and apart < _SAME_FRAME * stream.frame


def _continues(stream: _Stream, body: BodyFrame, now: int) -> bool:
    """Whether a body with a new id can be that of the stream, by its last time and position."""
    gap = (now - stream.last) / 1e9
    if stream.at is None or not 0 < gap <= _RENAMED_S:
        return False
    if body.stamp - stream.stamp < _SAME_FRAME * stream.frame:
        return False
    away = float(np.linalg.norm(_middle(body) - stream.at))
    return away <= _RENAMED_M + _WALKS_M_S * gap  # False for NaN


def _met(stream: _Stream) -> str:
    """The failures of a stream, in words."""
    met = {**stream.smoother.failures, **({"stamps leapt": stream.leaps} if stream.leaps else {})}
    return ", ".join(f"{name} {count}" for name, count in met.items()) or "well"
