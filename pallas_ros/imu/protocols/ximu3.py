"""x-io x-IMU3: binary messages terminated by a line feed, escaped as in SLIP, without checksum;
also its ASCII format.

The maintained ``ximu3`` package opens ports itself and delivers messages from its own threads, so
it cannot use this reader (reconnection, ports by serial number, clock) and does not accept bytes.
It is the reference in the tests instead: the encoder's output is read by ``ximu3`` with the same
numbers. Source: x-io Technologies, "x-IMU3 User Manual" v0.11, section 8.
"""

import math
import struct

from pallas_ros.imu.protocols.base import (
    Decoder,
    Encoder,
    ProtocolSpec,
    Quaternion,
    Reading,
    Vector,
)
from pallas_ros.imu.sample import GRAVITY

_END = 0x0A
_ESCAPE = 0xDB
_FLOATS = {"I": 6, "Q": 4, "M": 3, "T": 1, "L": 7, "E": 7}
"""Messages used here and the number of values after the time; all others are skipped."""
_KINDS = {ord(letter) + 0x80: letter for letter in _FLOATS}
_LONGEST = 2 * (1 + 8 + 4 * 9)
_STALE_S = 0.05  # an orientation older than this is not combined with an inertial message


class XImu3Decoder(Decoder):
    """Decoder: inertial messages combined with the quaternion of the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._inertial: tuple[float, Vector, Vector] | None = None
        self._given: float | None = None
        self._time = 0.0
        self._oriented: float | None = None
        self._field: Vector | None = None
        self._temperature: float | None = None

    def feed(self, data: bytes) -> list[Reading]:
        """See `Decoder.feed`."""
        *messages, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            self.stats.skipped_bytes += len(self._rest) - _LONGEST
            self._rest = self._rest[-_LONGEST:]
        readings: list[Reading] = []
        for message in messages:
            found = _binary(message, self._time) or _ascii(message)
            if found is None:
                self.stats.skipped_bytes += len(message) + 1
                continue
            self.stats.frames += 1
            self._time = found[1]
            self._take(*found, readings)
        self.stats.readings += len(readings)
        return readings

    def _take(self, kind: str, time: float, n: tuple[float, ...], readings: list[Reading]) -> None:
        if kind == "M":
            self._field = (n[0], n[1], n[2])
        elif kind == "T":
            self._temperature = n[0]
        elif kind == "I":
            pending = self._inertial
            given = self._given
            if (
                pending is not None
                and pending[0] != given
                and not self._expects_orientation(pending[0])
            ):
                readings.append(self._reading(pending[0], None))
            rate = (math.radians(n[0]), math.radians(n[1]), math.radians(n[2]))
            self._inertial = (time, rate, (n[3] * GRAVITY, n[4] * GRAVITY, n[5] * GRAVITY))
        else:
            self._oriented = time
            orientation = (n[1], n[2], n[3], n[0])
            if kind in "LE":
                force = _specific_force((n[4], n[5], n[6]), orientation, in_earth=kind == "E")
                rate = (
                    self._inertial[1]
                    if self._inertial and time - self._inertial[0] < _STALE_S
                    else (0.0, 0.0, 0.0)
                )
                self._inertial = (time, rate, force)
            if self._inertial is not None and abs(time - self._inertial[0]) < _STALE_S:
                self._given = self._inertial[0]
                readings.append(self._reading(time, orientation))

    def _expects_orientation(self, time: float) -> bool:
        return self._oriented is not None and abs(time - self._oriented) < _STALE_S

    def _reading(self, time: float, orientation: Quaternion | None) -> Reading:
        assert self._inertial is not None
        _, rate, acceleration = self._inertial
        field = self._field
        self._field = None
        return Reading(time, acceleration, rate, orientation, field, self._temperature)


def _binary(message: bytes, last: float) -> tuple[str, float, tuple[float, ...]] | None:
    """Return kind, time in s and values of an escaped binary message.

    A message after garbage is found from its end. Without a checksum more than one beginning may
    fit; the one with the time closest to ``last`` is chosen.
    """
    fits = []
    for begin in range(max(len(message) - _LONGEST, 0), len(message)):
        kind = _KINDS.get(message[begin])
        if kind is None:
            continue
        plain = _unescape(message[begin:])
        if plain is None or len(plain) != 9 + 4 * _FLOATS[kind]:
            continue
        numbers = struct.unpack_from(f"<{_FLOATS[kind]}f", plain, 9)
        time = int.from_bytes(plain[1:9], "little") / 1e6
        if all(map(math.isfinite, numbers)) and time < 1e10:
            fits.append((kind, time, numbers))
            if begin == 0:
                break
    return min(fits, key=lambda fit: abs(fit[1] - last)) if fits else None


def _ascii(message: bytes) -> tuple[str, float, tuple[float, ...]] | None:
    parts = message[-160:].rstrip(b"\r").split(b",")
    kind = parts[0].decode("latin-1")
    if kind not in _FLOATS or len(parts) != _FLOATS[kind] + 2:
        return None
    try:
        time, *numbers = (float(part) for part in parts[1:])
    except ValueError:
        return None
    return (
        (kind, time / 1e6, tuple(numbers))
        if math.isfinite(time) and all(map(math.isfinite, numbers))
        else None
    )


def _unescape(data: bytes) -> bytes | None:
    if _ESCAPE not in data:
        return data
    head, *rest = data.split(b"\xdb")
    for part in rest:
        if not part or part[0] not in (0xDC, 0xDD):
            return None
        head += (b"\x0a" if part[0] == 0xDC else b"\xdb") + part[1:]
    return head


def _specific_force(free: Vector, orientation: Quaternion, in_earth: bool) -> Vector:
    """Return the specific force, m/s^2, for an acceleration without gravity in g.

    The acceleration is in the sensor or the earth frame.
    """
    x = -orientation[0]
    y = -orientation[1]
    z = -orientation[2]
    w = orientation[3]
    ax, ay, az = (free[0], free[1], free[2] + 1.0) if in_earth else (0.0, 0.0, 1.0)
    tx = 2 * (y * az - z * ay)
    ty = 2 * (z * ax - x * az)
    tz = 2 * (x * ay - y * ax)
    force = (
        ax + w * tx + y * tz - z * ty,
        ay + w * ty + z * tx - x * tz,
        az + w * tz + x * ty - y * tx,
    )
    if not in_earth:
        force = force[0] + free[0], force[1] + free[1], force[2] + free[2]
    return force[0] * GRAVITY, force[1] * GRAVITY, force[2] * GRAVITY


class XImu3Encoder(Encoder):
    """Encoder of binary inertial, magnetometer, temperature and quaternion messages."""

    def encode(self, reading: Reading) -> bytes:
        """See `Encoder.encode`."""
        time = round((reading.device_time or 0.0) * 1e6)
        out = b""
        if reading.magnetic_field is not None:
            out += _message("M", time, reading.magnetic_field)
        if reading.temperature is not None:
            out += _message("T", time, (reading.temperature,))
        if reading.acceleration is not None:
            rate = tuple(math.degrees(v) for v in reading.angular_velocity or (0.0, 0.0, 0.0))
            out += _message("I", time, rate + tuple(v / GRAVITY for v in reading.acceleration))
        if reading.orientation is not None:
            x, y, z, w = reading.orientation
            out += _message("Q", time, (w, x, y, z))
        return out


def _message(kind: str, time: int, numbers: tuple[float, ...]) -> bytes:
    plain = (
        bytes((ord(kind) + 0x80,))
        + time.to_bytes(8, "little")
        + struct.pack(f"<{len(numbers)}f", *numbers)
    )
    return plain.replace(b"\xdb", b"\xdb\xdd").replace(b"\x0a", b"\xdb\xdc") + b"\n"


SPEC = ProtocolSpec(
    name="ximu3",
    title="x-io x-IMU3",
    baud_rate=115200,
    decoder=XImu3Decoder,
    encoder=XImu3Encoder,
    sends=frozenset(
        {
            "device_time",
            "acceleration",
            "angular_velocity",
            "orientation",
            "magnetic_field",
            "temperature",
        }
    ),
)
