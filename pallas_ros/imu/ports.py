"""Which serial port is which sensor: by path, by USB serial number, or found by shaking each sensor
in turn.
"""

import fcntl
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from serial.tools import list_ports

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.imu.sample import GRAVITY, ImuSample

USB = "usb:"
"""Prefix of a port given by the serial number of its USB adapter: ``usb:A50285BI``."""

AUTO = "auto"
"""Instead of a port: the operator is asked to shake the sensor."""

NANOSECONDS = 1_000_000_000

_FACTORY_NUMBERS = frozenset({"0001"})
"""Serial numbers that makers give to every adapter (CP210x), so that they name none."""


def resolve(port: str) -> str | None:
    """Path of a port given as a path or ``usb:<serial number>``, or None while it is not plugged
    in.
    """
    if not port.startswith(USB):
        return port if os.path.exists(port) and not _orphaned(Path(port)) else None
    named = _of_number(port[len(USB) :])
    return named[0] if len(named) == 1 else None


def _of_number(number: str) -> list[str]:
    """Paths of the adapters that have a serial number."""
    return sorted(str(p.device) for p in list_ports.comports() if p.serial_number == number)


def why_missing(port: str) -> str:
    """Why `resolve` gives nothing for a port, in words."""
    named = _of_number(port[len(USB) :]) if port.startswith(USB) else []
    if len(named) > 1:
        return (
            f"{port} names {len(named)} adapters of the same serial number ({', '.join(named)}): "
            "give their paths under /dev/serial/by-path instead"
        )
    return f"{port} is not plugged in"


def same_numbers(paths: Mapping[str, str]) -> list[list[str]]:
    """Sites (of site -> path) whose adapters have one and the same serial number, group
    by group.
    """
    numbers = {
        str(p.device): str(p.serial_number) for p in list_ports.comports() if p.serial_number
    }
    groups: dict[str, list[str]] = {}
    for site, path in paths.items():
        if (number := numbers.get(os.path.realpath(path))) is not None:
            groups.setdefault(number, []).append(site)
    return [sites for sites in groups.values() if len(sites) > 1]


def lock_of(link: Path) -> Path:
    """The file a simulator holds locked while the terminal behind ``link`` is its own."""
    return link.with_name(f".{link.name}.lock")


def _orphaned(link: Path) -> bool:
    """Is this the link of a simulator that was killed? The terminal it names may by now be somebody
    else's.
    """
    if not link.is_symlink() or not lock_of(link).exists():
        return False
    try:
        with lock_of(link).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def identity(path: str) -> str:
    """What names the sensor for good: ``usb:<serial number>`` where its adapter has one of its own,
    else the path.
    """
    real = os.path.realpath(path)
    number = next((p.serial_number for p in list_ports.comports() if p.device == real), None)
    if not number or number in _FACTORY_NUMBERS or len(_of_number(number)) > 1:
        return path
    return USB + str(number)


def candidates() -> list[str]:
    """Paths of the USB serial ports that are plugged in, in order."""
    return sorted(str(found.device) for found in list_ports.comports() if found.vid is not None)


class ShakeAssigner:
    """Asks for one site after the other and gives it the port whose sensor is shaken.

    A sensor counts as shaken when, over a second, its acceleration varies by more than
    ``threshold`` m/s^2 and three times as much as any other that is still to be assigned. A sensor
    must come to rest before the next site is asked for.

    Attributes:
        assigned: site -> port, filled as it goes.
    """

    def __init__(
        self, ports: Sequence[str], sites: Sequence[str] = SITES, threshold: float = 4.0
    ) -> None:
        if len(ports) < len(sites):
            raise PallasError(
                f"{len(ports)} sensor ports found, {len(sites)} needed: plug in the others, or name"
                " the ports in the parameters"
            )
        self.assigned: dict[str, str] = {}
        self._sites = tuple(sites)
        self._threshold = threshold
        self._window: dict[str, deque[tuple[int, float]]] = {
            port: deque(maxlen=2000) for port in ports
        }
        self._resting = True

    @property
    def asked(self) -> str | None:
        """The site whose sensor is to be shaken now; None when all are known."""
        return next((site for site in self._sites if site not in self.assigned), None)

    @property
    def request(self) -> str:
        """What to tell the operator now."""
        if self.asked is None:
            return "all sensors are known"
        return (
            f"shake the sensor of the {self.asked.replace('_', ' ')}"
            if self._resting
            else "thank you; put it to rest"
        )

    def push(self, port: str, sample: ImuSample) -> None:
        """Take a sample of a port."""
        window = self._window[port]
        if window and not 0 <= sample.stamp - window[-1][0] < NANOSECONDS:
            window.clear()  # a gap, or a clock that jumped
        window.append((sample.stamp, float(np.linalg.norm(sample.acceleration))))
        while window[0][0] < sample.stamp - NANOSECONDS:
            window.popleft()
        if self.asked is None or window[-1][0] - window[0][0] < 0.8 * NANOSECONDS:
            return
        vigour = {p: self._vigour(w) for p, w in self._window.items()}
        if not self._resting:
            self._resting = max(vigour.values()) < 0.2 * self._threshold
            return
        free = [p for p in vigour if p not in self.assigned.values()]
        strongest = max(free, key=lambda p: vigour[p])
        others = max((vigour[p] for p in free if p != strongest), default=0.0)
        if vigour[strongest] > self._threshold and vigour[strongest] > 3 * others:
            self.assigned[self.asked] = strongest
            self._resting = False

    @staticmethod
    def _vigour(window: deque[tuple[int, float]]) -> float:
        values = np.array([value for _, value in window])
        if len(values) < 5:
            return 0.0
        # some sensors report g; shaking shows all the same
        in_g = np.median(values) < 0.3 * GRAVITY
        return float(values.std()) * (GRAVITY if in_g else 1.0)
