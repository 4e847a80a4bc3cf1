"""Assign serial ports to sensors: by path, by USB serial number, or by shaking each sensor."""

import fcntl
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from serial.tools import list_ports

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.body.resources import expanded
from pallas_ros.imu.sample import GRAVITY, ImuSample

USB = "usb:"
"""Prefix of a port given by the USB serial number of its adapter: ``usb:A50285BI``."""

SIMULATED = "~/.ros/pallas/imu"
"""Folder in which simulated sensors create their ports, unless ``port_folder`` names another."""

AUTO = "auto"
"""Given instead of a port: the operator is asked to shake the sensor."""

NANOSECONDS = 1_000_000_000

_FACTORY_NUMBERS = frozenset({"0001"})
"""Serial numbers that manufacturers give to every adapter (CP210x) and that identify none."""


def with_simulated(ports: Sequence[str], sites: Sequence[str]) -> list[str]:
    """Return ``ports``, one for each of ``sites``.

    If all of them belong to the simulator, ports of additional sites do as well.
    """
    given = list(ports)
    if any(port != f"{SIMULATED}/{site}" for port, site in zip(given, sites)):
        return given
    return given + [f"{SIMULATED}/{site}" for site in sites[len(given) :]]


def resolve(port: str) -> str | None:
    """Return the path of a port given as a path or ``usb:<serial number>``; None if absent."""
    if not port.startswith(USB):
        return port if os.path.exists(port) and not _orphaned(Path(port)) else None
    named = _of_number(port[len(USB) :])
    return named[0] if len(named) == 1 else None


def _of_number(number: str) -> list[str]:
    """Return the paths of the adapters with this serial number."""
    return sorted(str(p.device) for p in list_ports.comports() if p.serial_number == number)


def why_missing(port: str) -> str:
    """Explain why `resolve` finds no port."""
    named = _of_number(port[len(USB) :]) if port.startswith(USB) else []
    if len(named) > 1:
        return (
            f"{port} names {len(named)} adapters with the same serial number ({', '.join(named)}):"
            " give their paths under /dev/serial/by-path instead"
        )
    return f"{port} is not plugged in"


_GIVEN = "'pallas up ports:=A,B,C,D', option --ports, or parameter 'ports'"


def why_absent(port: str) -> str:
    """Explain why `resolve` finds no port at startup, and what to do."""
    if _is_simulated(port):
        return (
            f"{port} is a port of a simulated sensor, and no simulator has created it; start one"
            " ('pallas up', or node imu_simulator), wait longer for it ('port_wait_s'), or give the"
            f" ports of real sensors ({_GIVEN})"
        )
    return f"{why_missing(port)}; plug the sensor in, or give another port ({_GIVEN})"


def _is_simulated(port: str) -> bool:
    """Whether a simulator creates this port by default, or has created it before."""
    if port.startswith(USB):
        return False
    path = expanded(port)
    return path.parent == expanded(SIMULATED) or lock_of(path).exists()


def same_numbers(paths: Mapping[str, str]) -> list[list[str]]:
    """Return groups of sites (from site -> path) whose adapters share a serial number."""
    numbers = {
        str(p.device): str(p.serial_number) for p in list_ports.comports() if p.serial_number
    }
    groups: dict[str, list[str]] = {}
    for site, path in paths.items():
        if (number := numbers.get(os.path.realpath(path))) is not None:
            groups.setdefault(number, []).append(site)
    return [sites for sites in groups.values() if len(sites) > 1]


def lock_of(link: Path) -> Path:
    """Return the lock file that a simulator holds while it owns the terminal behind ``link``."""
    return link.with_name(f".{link.name}.lock")


def _orphaned(link: Path) -> bool:
    """Whether the link belongs to a simulator that was killed.

    The terminal it names may have been reused.
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
    """Return the permanent identity of a port.

    It is ``usb:<serial number>`` if its adapter has a unique one, else the path.
    """
    real = os.path.realpath(path)
    number = next((p.serial_number for p in list_ports.comports() if p.device == real), None)
    if not number or number in _FACTORY_NUMBERS or len(_of_number(number)) > 1:
        return path
    return USB + str(number)


def candidates() -> list[str]:
    """Return the sorted paths of the USB serial ports that are plugged in."""
    return sorted(str(found.device) for found in list_ports.comports() if found.vid is not None)


class ShakeAssigner:
    """Ask for one site after the other and assign it the port whose sensor is shaken.

    A sensor counts as shaken if, over a second, its acceleration varies by more than ``threshold``
    m/s^2 and three times as much as that of any other unassigned sensor. It must come to rest
    before the next site is asked for.

    Attributes:
        assigned: site -> port, filled progressively.

    Raises:
        PallasError: there are fewer ports than sites.
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
        """Site whose sensor is to be shaken now; None if all are assigned."""
        return next((site for site in self._sites if site not in self.assigned), None)

    @property
    def request(self) -> str:
        """Return the current instruction to the operator."""
        if self.asked is None:
            return "all sensors are assigned"
        return (
            f"shake the sensor of the {self.asked.replace('_', ' ')}"
            if self._resting
            else "thank you; now keep it still"
        )

    def push(self, port: str, sample: ImuSample) -> None:
        """Process a sample of a port."""
        window = self._window[port]
        if window and not 0 <= sample.stamp - window[-1][0] < NANOSECONDS:
            window.clear()  # a gap, or a clock jump
        window.append((sample.stamp, float(np.linalg.norm(sample.acceleration))))
        while window[0][0] < sample.stamp - NANOSECONDS:
            window.popleft()
        if self.asked is None or window[-1][0] - window[0][0] < 0.8 * NANOSECONDS:
            return
        variation = {p: self._variation(w) for p, w in self._window.items()}
        if not self._resting:
            self._resting = max(variation.values()) < 0.2 * self._threshold
            return
        free = [p for p in variation if p not in self.assigned.values()]
        strongest = max(free, key=lambda p: variation[p])
        others = max((variation[p] for p in free if p != strongest), default=0.0)
        if variation[strongest] > self._threshold and variation[strongest] > 3 * others:
            self.assigned[self.asked] = strongest
            self._resting = False

    @staticmethod
    def _variation(window: deque[tuple[int, float]]) -> float:
        values = np.array([value for _, value in window])
        if len(values) < 5:
            return 0.0
        # some sensors report g; shaking is detected all the same
        in_g = np.median(values) < 0.3 * GRAVITY
        return float(values.std()) * (GRAVITY if in_g else 1.0)
