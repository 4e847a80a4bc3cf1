"""Several bodies at once: a smoother for each body id, bridging on time when frames stop coming, bone lengths kept in a file."""

from dataclasses import dataclass, replace
from pathlib import Path

from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.smoother import Method, Smoother, SmootherSettings, shared_method
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

    def push(self, body: BodyFrame, now: int) -> list[BodyFrame]:
        """Take a body at ``now`` (ns, node's clock); the smooth bodies that are due.

        Raises:
            PallasError: there is no room for another body.
        """
        stream = self._streams.get(body.body_id) or self._admit(body.body_id, now)
        stream.delay, stream.last = now - body.stamp, now
        out = stream.smoother.push(body)
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
            if now - stream.last > FORGET_S * 1e9:
                del self._streams[name]
            elif now - stream.last > late:
                out += stream.smoother.advance(now - stream.delay - late)
        return out

    def figures(self) -> dict[str, str]:
        """For diagnostics: each body and the failures it met."""
        return {
            name: ", ".join(f"{k} {v}" for k, v in s.smoother.failures.items()) or "well"
            for name, s in self._streams.items()
        }

    def _admit(self, name: str, now: int) -> _Stream:
        if len(self._streams) >= MOST_BODIES:
            raise PallasError(
                f"body '{name}' is one too many: {MOST_BODIES} are smoothed at once ({', '.join(self._streams)})"
            )
        stream = self._streams[name] = _Stream(Smoother(self._settings, self._make), 0, now)
        return stream

    def _make(self, settings: SmootherSettings) -> Method | None:
        return self._method(settings)
