"""Xsens MTi (1, 10, 100, 600 series): Xbus messages MTData2.

0xFA, bus 0xFF, message 0x36, length, packets (big-endian: data identifier, size, data), and a
checksum so that all bytes from the bus byte on sum to zero. Source: Xsens, "MT Low Level
Communication Protocol Documentation", MT0101P.
"""

import math
import struct

from pallas_ros.imu.protocols.base import (
    Encoder,
    FramedDecoder,
    ProtocolSpec,
    Quaternion,
    Reading,
    Unwrapper,
    Vector,
)
from pallas_ros.imu.protocols.euler import quaternion_from_euler
from pallas_ros.imu.sample import GRAVITY

_TEMPERATURE = 0x0810
_COUNTER = 0x1020
_TIME_FINE = 0x1060
_TIME_COARSE = 0x1070
_QUATERNION = 0x2010
_EULER = 0x2030
_ACCELERATION = 0x4020
_FREE_ACCELERATION = 0x4030
_RATE = 0x8020
_FIELD = 0xC020
_TICKS = 10_000.0  # SampleTimeFine counts 10 kHz
_LONGEST = 1024  # an MTi sends far less; longer ones are treated as garbage
_HALF = math.sqrt(0.5)


class XsensDecoder(FramedDecoder):
    """Decoder of MTData2: single and double precision, both fixed-point formats; ENU, NWU and NED
    reference frames.
    """

    header = b"\xfa\xff\x36"

    def __init__(self) -> None:
        super().__init__()
        self._counter = Unwrapper(1 << 16)
        self._clock = Unwrapper(1 << 32)

    def length(self, data: bytes, at: int) -> int:
        """See `FramedDecoder.length`."""
        if at + 3 >= len(data):
            return 0
        if data[at + 3] != 0xFF:
            return data[at + 3] + 5
        if at + 5 >= len(data):
            return 0
        extended = data[at + 4] << 8 | data[at + 5]
        return extended + 7 if 255 <= extended <= _LONGEST else -1

    def holds(self, frame: bytes) -> bool:
        """See `FramedDecoder.holds`."""
        return sum(frame[1:]) & 0xFF == 0

    def take(self, frame: bytes, readings: list[Reading]) -> None:
        """See `FramedDecoder.take`."""
        reading = Reading()
        free = None
        at = 6 if frame[3] == 0xFF else 4
        end = len(frame) - 1
        while at + 3 <= end:
            kind = frame[at] << 8 | frame[at + 1]
            size = frame[at + 2]
            data = frame[at + 3 : at + 3 + size]
            at += 3 + size
            if at > end:
                break
            group = kind & 0xFFF0
            reference = kind & 0xC
            if group == _COUNTER and size == 2:
                self.stats.lost += max(self._counter.step(data[0] << 8 | data[1]) - 1, 0)
            elif group == _TIME_FINE and size == 4:
                self._clock.step(int.from_bytes(data, "big"))
                reading.device_time = self._clock.total / _TICKS
            elif group == _QUATERNION and (q := _numbers(data, kind, 4)):
                reading.orientation = _to_up((q[1], q[2], q[3], q[0]), reference)
            elif group == _EULER and (e := _numbers(data, kind, 3)):
                reading.orientation = _to_up(
                    quaternion_from_euler(*(math.radians(v) for v in e)), reference
                )
            elif group == _ACCELERATION:
                reading.acceleration = _vector(data, kind)
            elif group == _FREE_ACCELERATION:
                free = _vector(data, kind), reference
            elif group == _RATE:
                reading.angular_velocity = _vector(data, kind)
            elif group == _FIELD:
                reading.magnetic_field = _vector(data, kind)
            elif group == _TEMPERATURE and (t := _numbers(data, kind, 1)):
                reading.temperature = t[0]
        if (
            reading.acceleration is None
            and free is not None
            and free[0] is not None
            and reading.orientation is not None
        ):
            reading.acceleration = _specific_force(free[0], free[1], reading.orientation)
        if reading.acceleration is not None:
            readings.append(reading)


def _numbers(data: bytes, kind: int, count: int) -> tuple[float, ...] | None:
    """Return the values of a packet in the precision given by its identifier.

    None if the size is wrong or a value is not finite.
    """
    precision = kind & 0x3
    if len(data) != count * (4, 4, 6, 8)[precision]:
        return None
    values: tuple[float, ...]
    if precision == 0:
        values = struct.unpack(f">{count}f", data)
    elif precision == 3:
        values = struct.unpack(f">{count}d", data)
    elif precision == 1:  # 12.20
        values = tuple(v / (1 << 20) for v in struct.unpack(f">{count}i", data))
    else:  # 16.32: the fraction (4 bytes) precedes the integer part (2 bytes)
        values = tuple(part[1] + part[0] / (1 << 32) for part in struct.iter_unpack(">Ih", data))
    return values if all(map(math.isfinite, values)) else None


def _vector(data: bytes, kind: int) -> Vector | None:
    numbers = _numbers(data, kind, 3)
    return None if numbers is None else (numbers[0], numbers[1], numbers[2])


def _to_up(q: Quaternion, reference: int) -> Quaternion:
    """Convert a reference frame with z down (NED) to ENU; ENU and NWU already have z up."""
    if reference != 0x4:
        return q
    x, y, z, w = q  # left-multiply by half a turn about the axis between north and east
    return _HALF * (w + z), _HALF * (w - z), _HALF * (y - x), -_HALF * (x + y)


def _specific_force(free: Vector, reference: int, orientation: Quaternion) -> Vector:
    """Return the specific force in the sensor frame, from the free one in the reference frame."""
    x, y, z = free
    if reference == 0x4:
        x, y, z = y, x, -z
    z += GRAVITY
    qx = -orientation[0]
    qy = -orientation[1]
    qz = -orientation[2]
    qw = orientation[3]
    tx = 2 * (qy * z - qz * y)
    ty = 2 * (qz * x - qx * z)
    tz = 2 * (qx * y - qy * x)
    return (
        x + qw * tx + qy * tz - qz * ty,
        y + qw * ty + qz * tx - qx * tz,
        z + qw * tz + qx * ty - qy * tx,
    )


class XsensEncoder(Encoder):
    """Encoder: packet counter, time, quaternion, acceleration, rate of turn and magnetic field in
    single precision, ENU.
    """

    def __init__(self) -> None:
        self._counter = 0

    def encode(self, reading: Reading) -> bytes:
        """See `Encoder.encode`."""
        payload = struct.pack(">HBH", _COUNTER, 2, self._counter)
        self._counter = (self._counter + 1) % (1 << 16)
        if reading.device_time is not None:
            payload += struct.pack(
                ">HBI", _TIME_FINE, 4, round(reading.device_time * _TICKS) % (1 << 32)
            )
        if reading.temperature is not None:
            payload += struct.pack(">HBf", _TEMPERATURE, 4, reading.temperature)
        if reading.orientation is not None:
            x, y, z, w = reading.orientation
            payload += struct.pack(">HB4f", _QUATERNION, 16, w, x, y, z)
        fields = (
            (_ACCELERATION, reading.acceleration),
            (_RATE, reading.angular_velocity),
            (_FIELD, reading.magnetic_field),
        )
        for kind, vector in fields:
            if vector is not None:
                payload += struct.pack(">HB3f", kind, 12, *vector)
        body = bytes((0xFF, 0x36, len(payload))) + payload
        return b"\xfa" + body + bytes((-sum(body) & 0xFF,))


SPEC = ProtocolSpec(
    name="xsens",
    title="Xsens MTi 1, 10, 100, 600 series (MTData2)",
    baud_rate=115200,
    decoder=XsensDecoder,
    encoder=XsensEncoder,
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
