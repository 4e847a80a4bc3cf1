"""Read one serial port in one thread, with timestamps and automatic reconnection."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import serial

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array
from pallas_ros.imu import ports
from pallas_ros.imu.clock import ClockMapper, CountingClock
from pallas_ros.imu.field_model import CommonField
from pallas_ros.imu.orientation import OrientationFilter
from pallas_ros.imu.protocols import ProtocolSpec, Reading
from pallas_ros.imu.sample import ImuSample

NANOSECONDS = 1_000_000_000

_FIRST_RETRY_S = 0.05
_LONGEST_RETRY_S = 2.0
# polling interval for a missing port: plugging in is noticed at once, whatever the back-off
_LOOK_S = 0.2
_SILENT_S = 2.0  # an open port without data is reopened

_OWN = ("auto", "sensor")  # modes that use the sensor's own quaternion if it sends one
# consecutive readings without orientation from a sensor that had sent some
_UNORIENTED_BELIEVED = 20


@dataclass(slots=True)
class ReaderStats:
    """Status of a reader.

    Attributes:
        site: where its sensor is worn.
        port: path or ``usb:`` name, as given.
        sensor: identity of the sensor, empty before the first connection.
        connected: whether the port is open and sends data.
        problem: why it is not connected.
        rate_hz: samples per second over the last seconds.
        samples: number since start.
        lost: measurements that the sensor counted but that never arrived.
        checksum_errors, skipped_bytes: of the decoder.
        connections: how often the port was opened.
        latency_s: delay of samples in excess of the minimum: median and 99th percentile of the
            last 400.
        skew_ppm: rate error of the sensor's clock relative to the host's.
        temperature: degrees Celsius, or None.
        gyroscope_bias: (3,) rad/s, estimated by the orientation filter; None if the sensor does the
            fusion.
        newest: ns, timestamp of the newest sample, 0 before the first.
        clock_jumps: number of jumps of the sensor's or the host's clock since start.
    """

    site: str
    port: str
    sensor: str = ""
    connected: bool = False
    problem: str = "not opened yet"
    rate_hz: float = 0.0
    samples: int = 0
    lost: int = 0
    checksum_errors: int = 0
    skipped_bytes: int = 0
    connections: int = 0
    latency_s: tuple[float, float] = (0.0, 0.0)
    skew_ppm: float = 0.0
    temperature: float | None = None
    gyroscope_bias: tuple[float, ...] | None = None
    newest: int = 0
    clock_jumps: int = 0


@dataclass(slots=True)
class _Recent:
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=400))
    stamps: deque[int] = field(default_factory=lambda: deque(maxlen=400))


class SerialReader:
    """Read one port in its own thread and pass every sample to ``on_sample(site, sample)``.

    The port may be a path or ``usb:<serial number>``. If it is lost the reader retries with a
    back-off that doubles up to two seconds, and at once when the port reappears. Timestamps use the
    host clock (`ClockMapper`).
    """

    def __init__(
        self,
        port: str,
        protocol: ProtocolSpec,
        site: str,
        on_sample: Callable[[str, ImuSample], None],
        baud_rate: int | None = None,
        clock: Callable[[], int] = time.time_ns,
        orientation: str = "auto",
        least_interval_s: float = 0.004,
        common: CommonField | None = None,
        gyroscope_bias: Array | None = None,
    ) -> None:
        """Set what to read; nothing is opened yet.

        Args:
            least_interval_s: minimum interval between wake-ups of the thread; a faster sensor is
                read in small batches.
            common: shared by the readers of one wearer's magnetometers.
            gyroscope_bias: (3,) rad/s, if previously found.
        """
        self.port = port
        self.site = site
        self._protocol = protocol
        self._on_sample = on_sample
        rates = (baud_rate,) if baud_rate else (protocol.baud_rate, *protocol.other_baud_rates)
        self._baud_rates = deque(rates)
        self._clock = clock
        self._mode = orientation
        self._least_interval = least_interval_s
        self._common = common
        self._mapper = ClockMapper()
        self._counting = CountingClock()
        self._counted_mapper = CountingClock.mapper()
        self._bias = gyroscope_bias
        self._filter: OrientationFilter | None = None
        self._resumed: OrientationFilter | None = (
            None  # to continue with when the same sensor reconnects
        )
        self._turn: Array | None = None  # of a restarted heading (`_continued`)
        self._newest: Array | None = None  # orientation, rotated by it
        self._stop = threading.Event()
        self._stats = ReaderStats(site, port)
        self._since_oriented = _UNORIENTED_BELIEVED
        self._recent = _Recent()
        self._decoder = protocol.decoder()
        self._thread = threading.Thread(target=self._run, name=f"reader {site}", daemon=True)

    def start(self) -> "SerialReader":
        """Start reading."""
        self._thread.start()
        return self

    @property
    def stop_requested(self) -> bool:
        """Whether the thread was asked to end."""
        return self._stop.is_set()

    def ask_to_stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def stop(self) -> None:
        """Stop the thread and close the port."""
        self.ask_to_stop()
        self._thread.join(timeout=2.0)

    @property
    def sensor(self) -> str:
        """Identity of the sensor, empty before the first connection."""
        return self._stats.sensor

    def stats(self) -> ReaderStats:
        """Current status."""
        stats = self._stats
        recent = self._recent
        stamps = list(recent.stamps)
        stats.rate_hz = 0.0
        if stats.connected and len(stamps) > 1 and stamps[-1] > stamps[0]:
            stats.rate_hz = (len(stamps) - 1) * NANOSECONDS / (stamps[-1] - stamps[0])
        if recent.latency:
            stats.latency_s = (
                float(np.median(recent.latency)),
                float(np.percentile(list(recent.latency), 99)),
            )
        counts = self._decoder.stats
        stats.lost = counts.lost
        stats.checksum_errors = counts.checksum_errors
        stats.skipped_bytes = counts.skipped_bytes
        stats.skew_ppm = self._mapper.skew * 1e6
        stats.clock_jumps = self._mapper.restarts + self._counted_mapper.restarts
        stats.gyroscope_bias = (
            None if self._filter is None else tuple(float(v) for v in self._filter.bias)
        )
        return stats

    def _run(self) -> None:
        wait = _FIRST_RETRY_S
        while not self._stop.is_set():
            path = ports.resolve(self.port)
            if path is None:
                self._lost(ports.why_missing(self.port))
                self._stop.wait(_LOOK_S)
                wait = _FIRST_RETRY_S
                continue
            try:
                with serial.Serial(
                    path, self._baud_rates[0], timeout=0.25, exclusive=True
                ) as device:
                    self._connected(path)
                    wait = (
                        _FIRST_RETRY_S
                        if self._read(device, path)
                        else min(2 * wait, _LONGEST_RETRY_S)
                    )
            except (
                OSError,
                ValueError,
                TypeError,
            ) as error:  # TypeError: pyserial, if the port closes during a read
                self._lost(f"{self.port}: {_in_words(error)}")
            self._stop.wait(wait)
            wait = min(2 * wait, _LONGEST_RETRY_S)

    def _connected(self, path: str) -> None:
        self._stats.connections += 1
        before = self._stats.sensor
        self._stats.sensor = (
            ports.identity(path) if not self.port.startswith(ports.USB) else self.port
        )
        if before and before != self._stats.sensor:
            self._resumed = self._bias = self._newest = None
        self._turn = None
        self._stats.problem = f"{self.port}: open, but no {self._protocol.name} data yet"
        self._mapper.reset()
        self._counting.reset()
        self._counted_mapper.reset()
        # counters of a sensor may restart with its power, which is no loss; the totals go on
        counts = self._decoder.stats
        self._decoder = self._protocol.decoder()
        self._decoder.stats = counts
        self._since_oriented = _UNORIENTED_BELIEVED
        self._recent = _Recent()

    def _lost(self, why: str) -> None:
        self._stats.connected = False
        self._stats.problem = why
        if self._filter is not None:
            self._resumed = self._filter.resumed()
        self._filter = None  # its figures are already included in the other sensors' field

    def _read(self, device: serial.Serial, path: str) -> bool:
        """Read until stopped, silent or disconnected; return whether anything was received."""
        heard_at = time.monotonic()
        heard = False
        while not self._stop.is_set():
            data = device.read(1)
            if data:
                data += device.read(device.in_waiting)
                arrival = self._clock()
                woke = time.monotonic()
                readings = self._decoder.feed(data)
                for reading in readings:
                    self._take(reading, arrival)
                if readings:
                    heard_at = woke
                    heard = True
                self._stop.wait(max(self._least_interval - (time.monotonic() - woke), 0.0))
            elif not os.path.exists(path):
                self._lost(f"{self.port} was unplugged")
                return heard
            if time.monotonic() - heard_at > _SILENT_S:
                self._lost(self._explain_silence(bool(data)))
                return heard
        return heard

    def _explain_silence(self, has_data: bool) -> str:
        """Explain why an open port gives no reading.

        If bytes arrive but cannot be decoded, the next baud rate is tried.
        """
        rate = self._baud_rates[0]
        if not has_data:
            return f"{self.port} is silent: check wiring, power and baud rate ({rate})"
        what = f"{self.port} sends data, but not {self._protocol.name} at {rate} baud"
        if len(self._baud_rates) == 1:
            return f"{what}: set the protocol and the baud rate to the sensor's"
        self._baud_rates.rotate(-1)
        return f"{what}: trying {self._baud_rates[0]}; if none fits, check the protocol"

    def _take(self, reading: Reading, arrival: int) -> None:
        if reading.acceleration is None:
            return
        if reading.orientation is not None:
            self._since_oriented = 0
        elif self._mode in _OWN:
            # a sensor with its own fusion lost a frame: no sample is better than one from a filter
            # that just started
            self._since_oriented += 1
            if self._since_oriented <= _UNORIENTED_BELIEVED:
                return
        if reading.device_time is not None:
            device_time = reading.device_time
            mapper = self._mapper
        else:
            device_time = self._counting.tick(arrival)
            mapper = self._counted_mapper
        stamp = mapper.map(device_time, arrival)
        sample = ImuSample(
            stamp=stamp,
            orientation=None if reading.orientation is None else np.array(reading.orientation),
            acceleration=np.array(reading.acceleration),
            angular_velocity=(
                None if reading.angular_velocity is None else np.array(reading.angular_velocity)
            ),
            magnetic_field=(
                None if reading.magnetic_field is None else np.array(reading.magnetic_field)
            ),
            temperature=reading.temperature,
        )
        if self._protocol.heading_restarts and sample.orientation is not None:
            sample.orientation = self._continued(sample.orientation)
        if (
            self._mode not in _OWN or sample.orientation is None
        ) and sample.angular_velocity is not None:
            if self._filter is None:
                fresh = OrientationFilter(
                    self._mode in ("auto", "9d"), common=self._common, bias=self._bias
                )
                self._filter = self._resumed or fresh
                self._resumed = None
            sample.orientation = self._filter.update(
                device_time, sample.angular_velocity, sample.acceleration, sample.magnetic_field
            )
        self._note(sample, mapper.latency)
        try:
            self._on_sample(self.site, sample)
        except Exception as error:  # the consumer may fail on a sample; the reader must not
            self._stats.problem = f"a sample was not processed: {type(error).__name__}: {error}"

    def _note(self, sample: ImuSample, latency: float) -> None:
        """Count a sample, with its ``latency`` as the clock's mapping gives it."""
        stats = self._stats
        stats.connected = True
        stats.problem = ""
        stats.samples += 1
        if sample.stamp < stats.newest:
            self._recent = _Recent()
        stats.newest = sample.stamp
        if sample.temperature is not None:
            stats.temperature = sample.temperature
        self._recent.stamps.append(sample.stamp)
        self._recent.latency.append(latency)

    def _continued(self, q_ref_sensor: Array) -> Array:
        """Return the orientation (4,) with the heading from before the cable was unplugged.

        The calibration refers to that heading.
        """
        if self._turn is None:
            before = q_ref_sensor if self._newest is None else self._newest
            self._turn = rotations.about_z(
                -rotations.turn_about_z(rotations.multiply(q_ref_sensor, rotations.inverse(before)))
            )
        self._newest = rotations.multiply(self._turn, q_ref_sensor)
        return self._newest


def _in_words(error: Exception) -> str:
    """Return the reason in a pyserial exception, without its wrapping."""
    number = getattr(error, "errno", None)
    if number is not None:
        return os.strerror(number).lower()
    text = str(error)
    if "exclusively lock" in text:
        return "another program is using it"
    return "it was unplugged" if "returned no data" in text else text or type(error).__name__
