"""BNO080, BNO085, BNO086 in UART-RVC mode: 19-byte frames at 100 Hz with yaw, pitch, roll and
acceleration, no gyroscope.

Header 0xAAAA, an 8-bit counter, six little-endian int16 (0.01 degree, then mg), three reserved
bytes, the sum of all bytes after the header. Source: BNO080 data sheet 1000-3927, section 1.3.5.2.
"""

import math
import struct

from pallas_ros.imu.protocols.base import Encoder, FramedDecoder, ProtocolSpec, Reading, Unwrapper
from pallas_ros.imu.protocols.euler import euler_from_quaternion, quaternion_from_euler
from pallas_ros.imu.sample import GRAVITY

_RATE_HZ = 100.0
_ANGLE_SCALE = math.radians(0.01)
_ACCELERATION_SCALE = GRAVITY / 1000
_SIX = struct.Struct("<6h")


class Bno08xRvcDecoder(FramedDecoder):
    """Decoder of the RVC frames; device time is the counter over 100 Hz."""

    header = b"\xaa\xaa"

    def __init__(self) -> None:
        super().__init__()
        self._counter = Unwrapper(256)

    def length(self, data: bytes, at: int) -> int:
        """See `FramedDecoder.length`."""
        return 19

    def holds(self, frame: bytes) -> bool:
        """See `FramedDecoder.holds`."""
        return sum(frame[2:18]) & 0xFF == frame[18]

    def doubt(self, frame: bytes) -> int:
        """See `FramedDecoder.doubt`: non-zero reserved bytes."""
        return 3 - frame[15:18].count(0)

    def take(self, frame: bytes, readings: list[Reading]) -> None:
        """See `FramedDecoder.take`."""
        self.stats.lost += max(self._counter.step(frame[2]) - 1, 0)
        yaw, pitch, roll, x, y, z = _SIX.unpack_from(frame, 3)
        readings.append(
            Reading(
                device_time=self._counter.total / _RATE_HZ,
                acceleration=(
                    x * _ACCELERATION_SCALE,
                    y * _ACCELERATION_SCALE,
                    z * _ACCELERATION_SCALE,
                ),
                orientation=quaternion_from_euler(
                    roll * _ANGLE_SCALE, pitch * _ANGLE_SCALE, yaw * _ANGLE_SCALE
                ),
            )
        )


class Bno08xRvcEncoder(Encoder):
    """Encoder of the RVC frames."""

    def __init__(self) -> None:
        self._index = 0

    def encode(self, reading: Reading) -> bytes:
        """See `Encoder.encode`."""
        roll, pitch, yaw = euler_from_quaternion(reading.orientation or (0.0, 0.0, 0.0, 1.0))
        values = [angle / _ANGLE_SCALE for angle in (yaw, pitch, roll)]
        values += [a / _ACCELERATION_SCALE for a in reading.acceleration or (0.0, 0.0, 0.0)]
        body = (
            bytes((self._index,))
            + _SIX.pack(*(max(-32768, min(32767, round(v))) for v in values))
            + bytes(3)
        )
        self._index = (self._index + 1) % 256
        return b"\xaa\xaa" + body + bytes((sum(body) & 0xFF,))


SPEC = ProtocolSpec(
    name="bno08x_rvc",
    title="BNO080, BNO085, BNO086 in UART-RVC mode",
    baud_rate=115200,
    decoder=Bno08xRvcDecoder,
    encoder=Bno08xRvcEncoder,
    sends=frozenset({"device_time", "acceleration", "orientation"}),
    heading_restarts=True,
)
