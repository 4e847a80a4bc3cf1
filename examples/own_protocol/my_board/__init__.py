"""A custom serial protocol: lines of text, `ax ay az gx gy gz` in m/s^2 and rad/s."""

from pallas_ros import Decoder, Encoder, ProtocolSpec, Reading


class MyDecoder(Decoder):
    """Decodes bytes, in chunks of any size, into readings."""

    _rest = b""

    def feed(self, data: bytes) -> list[Reading]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        readings = []
        for line in lines:
            try:
                ax, ay, az, gx, gy, gz = (float(word) for word in line.split())
            except ValueError:
                self.stats.skipped_bytes += len(line) + 1
                continue
            readings.append(Reading(acceleration=(ax, ay, az), angular_velocity=(gx, gy, gz)))
        self.stats.readings += len(readings)
        return readings


class MyEncoder(Encoder):
    """Encodes readings for the sensor simulator."""

    def encode(self, reading: Reading) -> bytes:
        values = (*reading.acceleration, *reading.angular_velocity)
        return (" ".join(f"{value:.5f}" for value in values) + "\n").encode()


SPEC = ProtocolSpec(
    name="my_board",
    title="my board",
    baud_rate=115200,
    decoder=MyDecoder,
    encoder=MyEncoder,
    sends=frozenset({"acceleration", "angular_velocity"}),
)
