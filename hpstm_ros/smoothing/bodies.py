"""Several bodies at once: a smoother for each body id, bridging on time when frames stop coming,
bone lengths kept in a file.
"""

from collections.abc import Callable
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

F64 = NDArray[np.float64]

MOST_BODIES = 4
FORGET_S = 5.0
"""A body not seen for so long is forgotten."""
_SEEN_S = 0.25
"""A body seen within this time keeps its place where there is no room for another: seven frames of
30 Hz.
"""
_RENAMED_S = 0.5
_RENAMED_M = 0.25
_WALKS_M_S = 1.0
"""A new id within this time, distance and speed of where a body was last seen is that body's: two
people do not stand in one place.
"""
_MOST_NAMES = 1000
_LATE_FRAMES = 3
"""A frame this late is taken for lost."""


def method_for(method: str, topic: str) -> str:
    """``auto`` resolved: bodies from PALLAS pass as they are (they are smooth already,
    docs/evidence/smoothing.md), others go through the network.
    """
    if method != "auto":
        return method
    return "bypass" if topic == TOPIC_PALLAS_BODY else "hpstm"


@dataclass
class _Stream:
    smoother: Smoother
    delay: int
    """ns from a body's stamp to its arrival, last seen."""
    last: int
    """ns, node's clock, of the last arrival."""
    at: F64 | None = None
    """(3,) m, the middle of the joints seen last."""
    stamp: int = 0
    """ns, of the newest body."""
    stamps: StampGate = field(default_factory=StampGate)
    leaps: int = 0
    """Bodies whose stamps leapt."""


class Bodies:
    """Up to `MOST_BODIES` streams; they share one network.

    Args:
        settings: of every smoother.
        bones_file: bone lengths are loaded from it where it exists, and saved to it once the first
            body's are held; None for neither.
    """

    def __init__(self, settings: SmootherSettings, bones_file: Path | None = None) -> None:
        self._bones_file = bones_file
        if bones_file is not None and bones_file.is_file():
            settings = replace(settings, bones=BoneLengths.load(bones_file))
            self._bones_file = None
        self._settings = settings
        self._method = shared_method(settings)
        self._streams: dict[str, _Stream] = {}
        self._renamed: dict[str, str] = {}  # id -> the id under which that person was known
        self._apart: set[str] = set()  # ids that came beside the body they were taken for
        self.remark = ""
        self._remarked = 0

    def push(self, body: BodyFrame, now: int) -> list[BodyFrame]:
        """Take a body at ``now`` (ns, node's clock); the smooth bodies that are due.

        Raises:
            PallasError: there is no room for another body.
        """
        body = self._by_its_name(body, now)
        stream = self._streams.get(body.body_id) or self._admit(body.body_id, now)
        stream.at = _middle(body)
        stream.stamp = body.stamp
        believed, remark = stream.stamps.take(body.stamp, now)
        if remark:
            stream.leaps += 1
            self.remark = f"body '{body.body_id[:40]}': {remark}"
            self._remarked = now
        if not believed:
            return []
        if not 0 < body.newest_input <= body.stamp + LEAP_NS:  # not stated, or of another clock
            body = replace(body, newest_input=body.stamp)
        stream.delay = now - body.stamp
        stream.last = now
        out = stream.smoother.restart(body, remark) if remark else stream.smoother.push(body)
        if self._bones_file is not None and stream.smoother.bones is not None:
            stream.smoother.bones.save(self._bones_file)
            self._bones_file = None
        return out

    def tick(self, now: int) -> list[BodyFrame]:
        """Bridge what is late; call it at about the rate of the bodies."""
        late = round(_LATE_FRAMES * 1e9 / MODEL_RATE_HZ)
        out: list[BodyFrame] = []
        for name in list(self._streams):
            stream = self._streams[name]
            stream.last = min(stream.last, now)  # the clock may be set back
            if now - stream.last > FORGET_S * 1e9:
                del self._streams[name]
            elif now - stream.last > late:
                out += stream.smoother.advance(now - stream.delay - late)
        return out

    def figures(self) -> dict[str, str]:
        """For diagnostics: each body and the failures it met."""
        return {name: _met(stream) for name, stream in self._streams.items()}

    def recent_remark(self, now: int) -> str:
        """What was remarkable about stamps within the last few seconds, or empty."""
        return self.remark if 0 <= now - self._remarked <= FORGET_S * 1e9 else ""

    def _by_its_name(self, body: BodyFrame, now: int) -> BodyFrame:
        """The body under the id it had: estimators give the same person new ids, some of them
        several a second.

        A new id belongs to the body that was last seen where this one is, and that this frame has
        not shown.
        """
        name = body.body_id
        if name in self._streams:
            if self._streams[name].stamp == body.stamp:
                self._part(lambda other, was: was == name)
            return body
        was = self._renamed.get(name)
        if was is not None and was in self._streams:
            if self._streams[was].stamp < body.stamp:
                return replace(body, body_id=was)
            self._part(lambda other, was: other == name)
        if name in self._apart:
            return body
        near = [o for o, stream in self._streams.items() if _continues(stream, body, now)]
        if len(near) != 1:
            return body
        if len(self._renamed) >= _MOST_NAMES:
            self._renamed.pop(next(iter(self._renamed)))
        self._renamed[name] = near[0]
        return replace(body, body_id=near[0])

    def _part(self, which: Callable[[str, str], bool]) -> None:
        """Two ids came in one frame: they are two people, whatever they were taken for."""
        for other in [other for other, was in self._renamed.items() if which(other, was)]:
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
                    f"body '{name[:40]}' is one too many: {MOST_BODIES} are smoothed at once"
                    f" ({names})"
                )
            del self._streams[longest]
        stream = self._streams[name] = _Stream(Smoother(self._settings, self._make), 0, now)
        return stream

    def _make(self, settings: SmootherSettings) -> Method | None:
        return self._method(settings)


def _middle(body: BodyFrame) -> F64:
    """Mean (3,) m of the joints that are seen; NaN where none is."""
    seen = body.valid & np.isfinite(body.positions).all(axis=-1)
    return np.asarray(body.positions[seen].mean(axis=0) if seen.any() else np.full(3, np.nan))


def _continues(stream: _Stream, body: BodyFrame, now: int) -> bool:
    """May a body of a new id be the one of this stream, from where and when that was last seen?"""
    gap = (now - stream.last) / 1e9
    if stream.at is None or not 0 < gap <= _RENAMED_S or stream.stamp >= body.stamp:
        return False
    away = float(np.linalg.norm(_middle(body) - stream.at))
    return away <= _RENAMED_M + _WALKS_M_S * gap  # False for NaN


def _met(stream: _Stream) -> str:
    """The failures that a stream met, in words."""
    met = {**stream.smoother.failures, **({"stamps leapt": stream.leaps} if stream.leaps else {})}
    return ", ".join(f"{name} {count}" for name, count in met.items()) or "well"
