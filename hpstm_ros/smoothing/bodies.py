"""Several bodies at once: a smoother for each body id, bridging on time when frames stop coming, bone lengths kept in a file."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.smoother import Method, Smoother, SmootherSettings, shared_method
from hpstm_ros.smoothing.stamps import LEAP_NS, StampGate
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ, TOPIC_PALLAS_BODY

MOST_BODIES = 4
FORGET_S = 5.0
"""A body not seen for so long makes room for another."""
_LATE_FRAMES = 3
"""A frame this late is taken for lost."""


def method_for(method: str, topic: str) -> str:
    """``auto`` resolved: bodies from PALLAS pass as they are (they are smooth already, docs/evidence/smoothing.md), others go through the network."""
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
    stamps: StampGate = field(default_factory=StampGate)
    leaps: int = 0
    """Bodies whose stamps leapt."""


class Bodies:
    """Up to `MOST_BODIES` streams; they share one network.

    Args:
        settings: of every smoother.
        bones_file: bone lengths are loaded from it where it exists, and saved to it once the first body's are held; None for neither.
    """

    def __init__(self, settings: SmootherSettings, bones_file: Path | None = None) -> None:
        self._bones_file = bones_file
        if bones_file is not None and bones_file.is_file():
            settings = replace(settings, bones=BoneLengths.load(bones_file))
            self._bones_file = None
        self._settings = settings
        self._method = shared_method(settings)
        self._streams: dict[str, _Stream] = {}
        self.remark = ""
        self._remarked = 0

    def push(self, body: BodyFrame, now: int) -> list[BodyFrame]:
        """Take a body at ``now`` (ns, node's clock); the smooth bodies that are due.

        Raises:
            PallasError: there is no room for another body.
        """
        stream = self._streams.get(body.body_id) or self._admit(body.body_id, now)
        believed, remark = stream.stamps.take(body.stamp, now)
        if remark:
            stream.leaps += 1
            self.remark, self._remarked = f"body '{body.body_id[:40]}': {remark}", now
        if not believed:
            return []
        if not 0 < body.newest_input <= body.stamp + LEAP_NS:  # not stated, or of another clock
            body = replace(body, newest_input=body.stamp)
        stream.delay, stream.last = now - body.stamp, now
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

    def _admit(self, name: str, now: int) -> _Stream:
        if len(self._streams) >= MOST_BODIES:
            raise PallasError(
                f"body '{name}' is one too many: {MOST_BODIES} are smoothed at once ({', '.join(self._streams)})"
            )
        stream = self._streams[name] = _Stream(Smoother(self._settings, self._make), 0, now)
        return stream

    def _make(self, settings: SmootherSettings) -> Method | None:
        return self._method(settings)


def _met(stream: _Stream) -> str:
    """The failures that a stream met, in words."""
    met = {**stream.smoother.failures, **({"stamps leapt": stream.leaps} if stream.leaps else {})}
    return ", ".join(f"{name} {count}" for name, count in met.items()) or "well"
