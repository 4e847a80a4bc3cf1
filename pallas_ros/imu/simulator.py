"""Four simulated sensors on pseudo-terminals, sending real protocol bytes in real time."""

import errno
import fcntl
import itertools
import os
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import SITES
from pallas_ros.body.resources import expanded
from pallas_ros.body.rotations import Array
from pallas_ros.imu.ports import lock_of
from pallas_ros.imu.protocols import Encoder, ProtocolSpec, Reading
from pallas_ros.imu.virtual import SensorNoise, SensorTrack, VirtualSensors

NANOSECONDS = 1_000_000_000
_LOCK_TRIES = 5


class PseudoPort:
    """A pseudo-terminal that can be unplugged and plugged in, optionally under a fixed path."""

    def __init__(self, link: str | Path | None = None) -> None:
        """``link``: a symbolic link to create to the terminal.

        Raises:
            PallasError: the link cannot be created.
        """
        self._link = None if link is None else expanded(link)
        self._master: int | None = None
        self._slave = -1
        self._device = ""
        self._name_lock = self._take_lock()
        self._mutex = threading.Lock()  # one thread writes, another unplugs
        self.dropped = 0
        self.plug()

    @property
    def path(self) -> str:
        """Path for the reader to open."""
        return str(self._link) if self._link is not None else self._device

    def plug(self) -> None:
        """Create the terminal and its link."""
        if self._master is not None:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._device = os.ttyname(self._slave)
        if self._link is not None:
            temporary = self._link.with_name(f".{self._link.name}.{os.getpid()}")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self._device)
            temporary.replace(self._link)

    def unplug(self) -> None:
        """Remove the terminal and its link; to a reader this looks like an unplugged cable."""
        if self._master is None:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        with self._mutex:
            os.close(self._master)
            os.close(self._slave)
            self._master = None

    def close(self) -> None:
        """Unplug permanently."""
        self.unplug()
        if self._name_lock is not None:
            os.close(self._name_lock)
            self._name_lock = None

    def write(self, data: bytes) -> None:
        """Send data; unread data is dropped, as on a cable."""
        with self._mutex:
            if self._master is None:
                return
            try:
                self.dropped += len(data) - os.write(self._master, data)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EIO):
                    raise
                self.dropped += len(data)

    def _take_lock(self) -> int | None:
        """Reserve the link's name while alive, even if a killed process left the link behind."""
        if self._link is None:
            return None
        try:
            self._link.parent.mkdir(parents=True, exist_ok=True)
            if self._link.exists() and not self._link.is_symlink():
                raise PallasError(
                    f"{self._link} is not a link: choose other ports for the simulated sensors"
                )
            lock = os.open(lock_of(self._link), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise PallasError(
                f"{self._link}: cannot be created ({os.strerror(error.errno or 0).lower()}):"
                " choose other ports"
            ) from None
        for _ in range(_LOCK_TRIES):
            # a reader that checks whether the link is orphaned holds the lock briefly
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except OSError:
                time.sleep(0.02)
        os.close(lock)
        raise PallasError(
            f"{self._link} belongs to a running simulator: stop it, or choose other ports"
        )


HELD_S = (1.0, 2.0)
"""Seconds of the still beginning that are repeated while it is held."""
HELD_AT_MOST_S = 20.0


class SensorSimulator:
    """Play a motion, or recorded sensors, through four pseudo-terminals, back and forth.

    Attributes:
        ports: site -> path to open.
    """

    def __init__(
        self,
        source: Motion | Mapping[str, SensorTrack],
        protocol: ProtocolSpec,
        noise: SensorNoise | None = None,
        seed: int = 0,
        rate_hz: float = 100.0,
        links: Mapping[str, str | Path] | None = None,
        burst_s: float = 0.0,
        clock: Callable[[], int] = time.time_ns,
        hold: bool = False,
        sites: Sequence[str] = SITES,
    ) -> None:
        """Set what to play.

        Args:
            source: a motion, or sensors.
            protocol: protocol of the sensors.
            noise: sensor errors, if simulated from a motion.
            seed: of the errors.
            rate_hz: samples per second, if simulated from a motion.
            links: site -> path of a symbolic link to the port.
            burst_s: bytes are sent only at multiples of this, as through a USB adapter.
            clock: ns, for `truth`.
            hold: repeat the still beginning (`HELD_S`) until `release`, at most `HELD_AT_MOST_S`.
            sites: the worn sites, if simulated from a motion.
        """
        self.motion = source if isinstance(source, Motion) else None
        self.tracks = (
            VirtualSensors(noise, seed, sites=sites).tracks(source, rate_hz)
            if isinstance(source, Motion)
            else dict(source)
        )
        self._sends = protocol.sends
        self._encoders: dict[str, Encoder] = {site: protocol.encoder() for site in self.tracks}
        self._burst = burst_s
        self._held = hold
        self._lead = 0.0
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensor simulator", daemon=True)
        self._loop_s = max(float(track.time[-1]) for track in self.tracks.values()) + 1e-6
        self.started_at: int | None = None
        self._begun = 0.0
        self._ports: dict[str, PseudoPort] = {}
        try:
            for site in self.tracks:
                self._ports[site] = PseudoPort((links or {}).get(site))
        except PallasError:
            self.stop()
            raise

    @property
    def ports(self) -> dict[str, str]:
        """Site -> path to open."""
        return {site: port.path for site, port in self._ports.items()}

    def start(self) -> "SensorSimulator":
        """Start playing."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop and remove the ports."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        for port in self._ports.values():
            port.close()

    def unplug(self, site: str) -> None:
        """Unplug the cable of a site."""
        self._ports[site].unplug()

    def plug(self, site: str) -> None:
        """Plug it back in; its clock has kept running."""
        self._ports[site].plug()

    def motion_time(self, stamp: int) -> float:
        """Return the position in the motion (s) at a timestamp (ns), going back and forth."""
        seconds = (stamp - (self.started_at or stamp)) / NANOSECONDS
        if HELD_S[1] <= seconds < HELD_S[1] + self._lead:
            return HELD_S[0] + (seconds - HELD_S[0]) % (HELD_S[1] - HELD_S[0])
        seconds = (seconds - (self._lead if seconds >= HELD_S[1] else 0.0)) % (2 * self._loop_s)
        return seconds if seconds <= self._loop_s else 2 * self._loop_s - seconds

    def truth(self, stamp: int) -> tuple[Array, Array] | None:
        """Return the body at a timestamp (ns): rotations (22, 4) xyzw and positions (22, 3) m.

        None if only sensors were recorded.
        """
        if self.motion is None or self.started_at is None or stamp < self.started_at:
            return None
        at = min(self.motion_time(stamp) * self.motion.fps, len(self.motion) - 1.000001)
        i = int(at)
        f = at - int(at)
        q = rotations.slerp(
            self.motion.rotations[i],
            self.motion.rotations[i + 1],
            np.full(self.motion.rotations.shape[1], f),
        )
        return q, (1 - f) * self.motion.positions[i] + f * self.motion.positions[i + 1]

    def follow_clock(self) -> None:
        """Re-reference the start of the motion after a clock jump."""
        if self.started_at is not None:
            self.started_at = self._clock() - round((time.monotonic() - self._begun) * NANOSECONDS)

    def release(self) -> None:
        """Stop holding the beginning."""
        self._held = False

    def _run(self) -> None:
        begun = self._begun = time.monotonic()
        self.started_at = self._clock()
        for due, site, index, backwards in self._schedule():
            leaves = due if not self._burst else np.ceil(due / self._burst) * self._burst
            wait = begun + leaves - time.monotonic()
            if self._stop.is_set() or (wait > 0 and self._stop.wait(wait)):
                return
            self._ports[site].write(
                self._encoders[site].encode(self._reading(site, index, due, backwards))
            )

    def _schedule(self) -> Iterator[tuple[float, str, int, bool]]:
        """Yield (s since the start, site, sample, backwards) of everything to send, endlessly."""
        events = sorted(
            (float(t), site, i)
            for site, track in self.tracks.items()
            for i, t in enumerate(track.time)
        )
        held = [event for event in events if HELD_S[0] <= event[0] < HELD_S[1]]
        for lap in itertools.count():
            backwards = lap % 2 == 1
            for t, site, index in reversed(events) if backwards else events:
                while self._held and lap == 0 and t >= HELD_S[1] and self._lead < HELD_AT_MOST_S:
                    self._lead += HELD_S[1] - HELD_S[0]
                    for at, held_site, held_index in held:
                        yield at + self._lead, held_site, held_index, False
                yield (
                    self._lead + lap * self._loop_s + (self._loop_s - t if backwards else t),
                    site,
                    index,
                    backwards,
                )

    def _reading(self, site: str, index: int, due: float, backwards: bool) -> Reading:
        """Return what the sensor sends.

        Played backwards, velocities change sign and the device clock keeps running.
        """
        track = self.tracks[site]
        sends = self._sends
        first = float(track.device_time[0] - track.time[0])
        clock = _clock_rate(track)
        rate = -track.angular_velocity[index] if backwards else track.angular_velocity[index]
        return Reading(
            device_time=first + due * clock if "device_time" in sends else None,
            acceleration=_three(track.acceleration[index]),
            angular_velocity=_three(rate) if "angular_velocity" in sends else None,
            orientation=_four(track.orientation[index]) if "orientation" in sends else None,
            magnetic_field=(
                _three(track.magnetic_field[index]) if "magnetic_field" in sends else None
            ),
            temperature=31.0 if "temperature" in sends else None,
        )


def _clock_rate(track: SensorTrack) -> float:
    span = float(track.time[-1] - track.time[0])
    return float(track.device_time[-1] - track.device_time[0]) / span if span > 0 else 1.0


def _three(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _four(values: Array) -> tuple[float, float, float, float]:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])
