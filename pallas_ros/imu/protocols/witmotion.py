"""WitMotion (WT901, WT61, HWT905, BWT901 by cable...): 11-byte frames 0x55, type, 8 data bytes, sum
of the first ten bytes.

One measurement is a run of frames of increasing type: 0x50 time, 0x51 acceleration, 0x52 angular
velocity, 0x53 angle, 0x54 magnetic field, 0x59 quaternion.

The Bluetooth models (WT901BLE) send acceleration, angular velocity and angles in one frame of 20
bytes, 0x55 0x61, without time and without checksum. The first such frame is accepted if another
header follows it. Sources: WitMotion, "WT901 Standard Communication Protocol"
(wit-motion.gitbook.io); "WT901BLECL Specification", section 6.1.
"""

import math
import struct
from collections import deque

from pallas_ros.imu.protocols.base import Encoder, FramedDecoder, ProtocolSpec, Quaternion, Reading
from pallas_ros.imu.protocols.euler import quaternion_from_euler
from pallas_ros.imu.sample import GRAVITY

_TIME = 0x50
_ACCELERATION = 0x51
_RATE = 0x52
_ANGLE = 0x53
_FIELD = 0x54
_QUATERNION = 0x59
_LENGTH = 11
_BLE = 0x61
_BLE_REGISTERS = 0x71
_BLE_LENGTH = 20
_BLE_HEADERS = (bytes((0x55, _BLE)), bytes((0x55, _BLE_REGISTERS)))
_ACCELERATION_SCALE = 16 * GRAVITY / 32768
_RATE_SCALE = math.radians(2000) / 32768
_ANGLE_SCALE = math.pi / 32768
_DAY = 86400.0
_FOUR = struct.Struct("<4h")
_NINE = struct.Struct("<9h")


class WitMotionDecoder(FramedDecoder):
    """Decoder of the 0x55 frames; a reading is returned with the last frame of its run."""

    header = b"\x55"

    def __init__(self) -> None:
        super().__init__()
        self._reading = Reading()
        self._previous = 0xFF
        self._ends: deque[int] = deque(maxlen=8)  # last types of recent runs
        self._end = 0  # the most common of them: type of the frame that ends a run
        self._days = 0.0
        self._second: float | None = None
        self._bluetooth = False  # the last frame was of a Bluetooth model

    def length(self, data: bytes, at: int) -> int:
        """See `FramedDecoder.length`."""
        if at + 1 >= len(data):
            return 0
        if 0x50 <= data[at + 1] <= 0x5F:
            return _LENGTH
        if data[at + 1] not in (_BLE, _BLE_REGISTERS):
            return -1
        if self._bluetooth and self._in_step:
            return _BLE_LENGTH
        following = data[at + _BLE_LENGTH : at + _BLE_LENGTH + 2]
        if len(following) < 2:
            return 0
        return _BLE_LENGTH if following in _BLE_HEADERS else -1

    def holds(self, frame: bytes) -> bool:
        """See `FramedDecoder.holds`."""
        return len(frame) == _BLE_LENGTH or sum(frame[:10]) & 0xFF == frame[10]

    def take(self, frame: bytes, readings: list[Reading]) -> None:
        """See `FramedDecoder.take`."""
        kind = frame[1]
        self._bluetooth = len(frame) == _BLE_LENGTH
        if self._bluetooth:
            if kind == _BLE:
                readings.append(_bluetooth_reading(frame))
            return
        if kind <= self._previous:
            if self._previous >= self._end:
                self._finish(readings)
            elif self._reading.acceleration is not None:  # incomplete run
                self.stats.lost += 1
            self._reading = Reading()
            if self._previous != 0xFF:
                self._ends.append(self._previous)
                if self._previous != self._end:  # else it remains the most common
                    self._end = max(self._ends, key=lambda end: (self._ends.count(end), end))
        self._previous = kind
        reading = self._reading
        if kind == _TIME:
            reading.device_time = self._time(frame)
        else:
            a, b, c, d = _FOUR.unpack_from(frame, 2)
            if kind == _ACCELERATION:
                reading.acceleration = (
                    a * _ACCELERATION_SCALE,
                    b * _ACCELERATION_SCALE,
                    c * _ACCELERATION_SCALE,
                )
                reading.temperature = d / 100
            elif kind == _RATE:
                reading.angular_velocity = (a * _RATE_SCALE, b * _RATE_SCALE, c * _RATE_SCALE)
            elif kind == _ANGLE and reading.orientation is None:
                reading.orientation = quaternion_from_euler(
                    a * _ANGLE_SCALE, b * _ANGLE_SCALE, c * _ANGLE_SCALE
                )
            elif kind == _FIELD:
                reading.magnetic_field = (float(a), float(b), float(c))
            elif kind == _QUATERNION:
                reading.orientation = _unit(a, b, c, d)
        if kind == self._end:
            self._finish(readings)

    def _finish(self, readings: list[Reading]) -> None:
        if self._reading.acceleration is not None:
            readings.append(self._reading)
        self._reading = Reading()

    def _time(self, frame: bytes) -> float | None:
        hour = frame[5]
        minute = frame[6]
        second = frame[7]
        millisecond = frame[8] | frame[9] << 8
        if hour > 23 or minute > 59 or second > 59 or millisecond > 999:
            return None
        of_day = hour * 3600.0 + minute * 60.0 + second + millisecond / 1000
        if self._second is not None and of_day < self._second - _DAY / 2:
            self._days += _DAY
        self._second = of_day
        return self._days + of_day


def _bluetooth_reading(frame: bytes) -> Reading:
    ax, ay, az, gx, gy, gz, roll, pitch, yaw = _NINE.unpack_from(frame, 2)
    return Reading(
        acceleration=(
            ax * _ACCELERATION_SCALE,
            ay * _ACCELERATION_SCALE,
            az * _ACCELERATION_SCALE,
        ),
        angular_velocity=(gx * _RATE_SCALE, gy * _RATE_SCALE, gz * _RATE_SCALE),
        orientation=quaternion_from_euler(
            roll * _ANGLE_SCALE, pitch * _ANGLE_SCALE, yaw * _ANGLE_SCALE
        ),
    )


def _unit(w: int, x: int, y: int, z: int) -> Quaternion | None:
    """Return the quaternion of 16-bit integers; None if its norm is wrong.

    An 8-bit checksum does not detect all such errors.
    """
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if abs(length / 32768 - 1) > 0.03:
        return None
    return x / length, y / length, z / length, w / length


class WitMotionEncoder(Encoder):
    """Encoder of time, acceleration, angular velocity, magnetic field and quaternion frames."""

    def encode(self, reading: Reading) -> bytes:
        """See `Encoder.encode`."""
        out = b""
        if reading.device_time is not None:
            milliseconds = round(reading.device_time % _DAY * 1000) % 86_400_000
            seconds, millisecond = divmod(milliseconds, 1000)
            day = bytes(
                (25, 1, 1, seconds // 3600, seconds // 60 % 60, seconds % 60)
            ) + struct.pack("<H", millisecond)
            out += _frame(_TIME, day)
        if reading.acceleration is not None:
            temperature = 25.0 if reading.temperature is None else reading.temperature
            out += _frame(
                _ACCELERATION,
                _pack(*(v / _ACCELERATION_SCALE for v in reading.acceleration), temperature * 100),
            )
        if reading.angular_velocity is not None:
            out += _frame(_RATE, _pack(*(v / _RATE_SCALE for v in reading.angular_velocity), 0))
        if reading.magnetic_field is not None:
            out += _frame(_FIELD, _pack(*(v * 1000 for v in reading.magnetic_field), 2500))
        if reading.orientation is not None:
            x, y, z, w = reading.orientation
            out += _frame(_QUATERNION, _pack(w * 32768, x * 32768, y * 32768, z * 32768))
        return out


def _pack(*values: float) -> bytes:
    return _FOUR.pack(*(max(-32768, min(32767, round(value))) for value in values))


def _frame(kind: int, data: bytes) -> bytes:
    body = bytes((0x55, kind)) + data
    return body + bytes((sum(body) & 0xFF,))


SPEC = ProtocolSpec(
    name="witmotion",
    title="WitMotion WT901, WT61, HWT905, WT901BLE and similar",
    baud_rate=115200,
    other_baud_rates=(9600, 230400, 921600),
    decoder=WitMotionDecoder,
    encoder=WitMotionEncoder,
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
