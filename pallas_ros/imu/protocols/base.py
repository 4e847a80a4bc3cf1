"""Interface of a serial protocol: incremental decoder and encoder between bytes and readings."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(slots=True)
class Reading:
    """One measurement as sent by a sensor, in SI units; quantities not sent are None.

    Attributes:
        device_time: s on the sensor's clock, unwrapped by the decoder if the counter wraps.
        acceleration: m/s^2, specific force in the sensor frame.
        angular_velocity: rad/s in the sensor frame.
        orientation: xyzw, sensor to its reference frame, z up.
        magnetic_field: sensor frame, any unit.
        temperature: degrees Celsius.
    """

    device_time: float | None = None
    acceleration: Vector | None = None
    angular_velocity: Vector | None = None
    orientation: Quaternion | None = None
    magnetic_field: Vector | None = None
    temperature: float | None = None


@dataclass(slots=True)
class DecoderStats:
    """Counts since the decoder was created.

    Attributes:
        readings: complete measurements returned.
        frames: frames with a valid checksum.
        checksum_errors: expected frames with an invalid checksum.
        skipped_bytes: bytes outside of any frame.
        lost: measurements that the sensor counted but that did not arrive.
    """

    readings: int = 0
    frames: int = 0
    checksum_errors: int = 0
    skipped_bytes: int = 0
    lost: int = 0


class Decoder(ABC):
    """Incremental parser: accepts chunks of any size, buffers at most one frame, never raises."""

    def __init__(self) -> None:
        self.stats = DecoderStats()

    @abstractmethod
    def feed(self, data: bytes) -> list[Reading]:
        """Return the readings completed by ``data``, in order."""


class Encoder(ABC):
    """Encoder, for simulated sensors."""

    @abstractmethod
    def encode(self, reading: Reading) -> bytes:
        """Return the bytes that a sensor sends for one reading."""


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """Description of a protocol.

    Attributes:
        name: as used in parameters.
        title: sensors that use it.
        baud_rate: manufacturer's default.
        other_baud_rates: tried in turn if no rate is given and the data cannot be decoded.
        decoder: creates a decoder.
        encoder: creates an encoder.
        sends: names of the fields of `Reading` that it can carry.
        heading_restarts: whether the heading of its orientation restarts at zero, in any direction,
            at power-up.
    """

    name: str
    title: str
    baud_rate: int
    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    sends: frozenset[str]
    heading_restarts: bool = False
    other_baud_rates: tuple[int, ...] = ()


class FramedDecoder(Decoder):
    """Decoder for frames with a fixed header, a known length and a checksum at the end.

    After garbage it searches byte by byte. There, a frame that is valid by chance may overlap a
    true one. If both are valid, the one followed by another header is accepted, else the more
    plausible one (`doubt`), and if equal the inner one.

    A frame that follows the previous one and ends with the available bytes is returned at once. If
    the next bytes are not a header, but that frame contains one, the frame was valid by chance, and
    its inside is searched too.
    """

    header: bytes
    """Header bytes of a frame."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._doubted = (
            b""  # inside of a frame returned at once, which may contain the beginning of another
        )
        self._in_step = False

    @abstractmethod
    def length(self, data: bytes, at: int) -> int:
        """Return the length of the frame at ``at``; 0: needs more bytes, -1: not a frame."""

    @abstractmethod
    def holds(self, frame: bytes) -> bool:
        """Whether the checksum is valid."""

    @abstractmethod
    def take(self, frame: bytes, readings: list[Reading]) -> None:
        """Decode a complete frame and append the readings it completes."""

    def doubt(self, frame: bytes) -> int:
        """Implausibility of a valid frame, judged by the fields that the protocol leaves empty; 0
        if undecided.
        """
        return 0

    def feed(self, data: bytes) -> list[Reading]:
        """See `Decoder.feed`."""
        data = self._rest + data
        readings: list[Reading] = []
        header = self.header
        if self._doubted and len(data) >= len(header):
            if not data.startswith(header):
                data = self._doubted + data
                self._in_step = False
            self._doubted = b""
        at = 0
        end = len(data)
        while True:
            if not data.startswith(header, at):
                found = data.find(header, at)
                if found < 0:
                    found = end - _tail(data, header, at)
                if found > at:
                    self._skip(found - at)
                at = found
                if end - at < len(header):
                    break
            length = self.length(data, at)
            if length == 0 or (length > 0 and at + length > end):
                break
            frame = data[at : at + length] if length > 0 else b""
            if not frame or not self.holds(frame):
                self.stats.checksum_errors += self._in_step and bool(frame)
                self._skip(1)
                at += 1
                continue
            after = data[at + length : at + length + len(header)]
            if not (self._in_step and header.startswith(after)):
                rival = self._rival(data, at, length)
                if rival < 0:
                    break
                if rival:
                    self._skip(1)
                    at += 1
                    continue
            elif len(after) < len(header) and header in data[at + 1 :]:
                self._doubted = data[at + 1 : at + length]
            self._in_step = True
            self.stats.frames += 1
            before = len(readings)
            self.take(frame, readings)
            self.stats.readings += len(readings) - before
            at += length
        self._rest = data[at:]
        return readings

    def _skip(self, count: int) -> None:
        self.stats.skipped_bytes += count
        self._in_step = False

    def _rival(self, data: bytes, at: int, length: int) -> int:
        """Return 1 if a frame inside this one is more plausible, 0 if not, -1: needs more bytes."""
        stop = at + length
        if data.startswith(self.header, stop):
            return 0
        inner = data.find(self.header, at + 1)
        while 0 <= inner < stop:
            size = self.length(data, inner)
            if size == 0 or (size > 0 and inner + size + len(self.header) > len(data)):
                return -1
            if size > 0 and self.holds(data[inner : inner + size]):
                followed = data.startswith(self.header, inner + size)
                if followed or self.doubt(data[inner : inner + size]) <= self.doubt(data[at:stop]):
                    return 1
            inner = data.find(self.header, inner + 1)
        return 0


def _tail(data: bytes, header: bytes, at: int) -> int:
    """Return how many of the last bytes (from ``at`` on) may be the beginning of a header."""
    for count in range(min(len(header) - 1, len(data) - at), 0, -1):
        if data.endswith(header[:count]):
            return count
    return 0


class Unwrapper:
    """Unwrap a wrapping counter; returns the number of steps."""

    def __init__(self, modulus: int) -> None:
        self.modulus = modulus
        self._last: int | None = None
        self.total = 0

    def step(self, value: int) -> int:
        """Return the steps from the last value to this one, 0 at the first call."""
        step = 0 if self._last is None else (value - self._last) % self.modulus
        self._last = value
        self.total = value if self.total == 0 and step == 0 else self.total + step
        return step
