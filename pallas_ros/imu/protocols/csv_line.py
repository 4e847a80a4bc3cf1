"""Plain text lines for Arduino-class boards, easily written in a sketch.

``$IMU,<microseconds>,<ax>,<ay>,<az>,<gx>,<gy>,<gz>[,<mx>,<my>,<mz>][,<qx>,<qy>,<qz>,<qw>][*<hh>]``
and a newline. Acceleration is specific force in m/s^2, angular velocity rad/s; the magnetic field
may have any unit; the quaternion is sensor to world. ``*hh`` is the XOR of all characters between
``$`` and ``*`` in hexadecimal, as in NMEA 0183; without it a damaged line may be accepted.
"""

import math

from pallas_ros.imu.protocols.base import Decoder, Encoder, ProtocolSpec, Reading, Unwrapper

_LONGEST = 256
_TICKS = 1_000_000.0
_FIELD_COUNTS = (6, 9, 10, 13)


class CsvDecoder(Decoder):
    """Decoder of the lines; anything else is skipped."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._clock = Unwrapper(1 << 32)  # micros() of a 32-bit board wraps after 71 minutes

    def feed(self, data: bytes) -> list[Reading]:
        """See `Decoder.feed`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            self.stats.skipped_bytes += len(self._rest) - _LONGEST
            self._rest = self._rest[-_LONGEST:]
        return [reading for line in lines if (reading := self._line(line)) is not None]

    def _line(self, line: bytes) -> Reading | None:
        begin = line.rfind(b"$IMU,")
        if begin < 0 or len(line) - begin > _LONGEST:
            self.stats.skipped_bytes += len(line) + 1
            return None
        self.stats.skipped_bytes += begin
        body, star, checksum = line[begin + 1 :].rstrip(b"\r").partition(b"*")
        if star and checksum.upper() != b"%02X" % xor(body):
            self.stats.checksum_errors += 1
            return None
        try:
            time, *values = (float(text) for text in body[4:].split(b","))
        except ValueError:
            self.stats.skipped_bytes += len(line) - begin
            return None
        if (
            len(values) not in _FIELD_COUNTS
            or not all(map(math.isfinite, values))
            or not 0 <= time < 2**53
        ):
            self.stats.skipped_bytes += len(line) - begin
            return None
        self.stats.frames += 1
        self.stats.readings += 1
        if time < self._clock.modulus:
            self._clock.step(int(time))
            time = self._clock.total
        reading = Reading(
            device_time=time / _TICKS,
            acceleration=_three(values, 0),
            angular_velocity=_three(values, 3),
        )
        if len(values) in (9, 13):
            reading.magnetic_field = _three(values, 6)
        if len(values) in (10, 13):
            x, y, z, w = values[-4:]
            reading.orientation = (x, y, z, w)
        return reading


def xor(body: bytes) -> int:
    """Return the checksum of NMEA 0183: the XOR of all characters."""
    result = 0
    for byte in body:
        result ^= byte
    return result


def _three(values: list[float], at: int) -> tuple[float, float, float]:
    return values[at], values[at + 1], values[at + 2]


class CsvEncoder(Encoder):
    """Encoder of the lines, with checksum."""

    def encode(self, reading: Reading) -> bytes:
        """See `Encoder.encode`."""
        values = [*(reading.acceleration or (0.0,) * 3), *(reading.angular_velocity or (0.0,) * 3)]
        values += reading.magnetic_field or ()
        values += reading.orientation or ()
        ticks = round((reading.device_time or 0.0) * _TICKS) % (1 << 32)
        body = b"IMU,%d," % ticks + b",".join(b"%.6f" % value for value in values)
        return b"$%s*%02X\r\n" % (body, xor(body))


SPEC = ProtocolSpec(
    name="csv",
    title="Arduino-class boards that print text lines",
    baud_rate=115200,
    decoder=CsvDecoder,
    encoder=CsvEncoder,
    sends=frozenset(
        {"device_time", "acceleration", "angular_velocity", "orientation", "magnetic_field"}
    ),
)
