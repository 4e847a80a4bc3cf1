"""The four sensors of a wearer as one object: one reader per port, site assignment and status."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import serial

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.body.resources import expanded
from pallas_ros.body.rotations import Array
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu import ports as serial_ports
from pallas_ros.imu.field_model import CommonField
from pallas_ros.imu.ports import ShakeAssigner
from pallas_ros.imu.protocols import protocol
from pallas_ros.imu.reader import ReaderStats, SerialReader
from pallas_ros.imu.sample import ImuSample

BAUD_RATES = (300, 4_000_000)
"""Lowest and highest baud rate."""
_LOOK_S = 0.05


def check_baud_rate(name: str, rate: int) -> int:
    """Check and return a baud rate; ``name`` is the option or parameter that gives it.

    Raises:
        PallasError: it is neither 0 nor within `BAUD_RATES`.
    """
    low, high = BAUD_RATES
    if rate and not low <= rate <= high:
        raise PallasError(f"{name} {rate}: give {low} to {high}, or 0 for the protocol's")
    return rate


class ImuDriver:
    """Read the sensors of all sites and call ``on_sample(site, sample)`` from their threads."""

    def __init__(
        self,
        ports: Sequence[str],
        protocols: Sequence[str],
        on_sample: Callable[[str, ImuSample], None],
        baud_rate: int = 0,
        clock: Callable[[], int] = time.time_ns,
        orientation: str = "auto",
        read_interval_s: float = 0.004,
        gyroscope_bias: Mapping[str, Array] | None = None,
        sites: Sequence[str] = SITES,
    ) -> None:
        """Set what to open; nothing is opened yet.

        Args:
            ports: one for each of ``sites``, in that order: a path, ``usb:<serial number>``; or
                ``["auto"]`` to assign them by shaking.
            protocols: one for all, or one for each site.
            on_sample: takes the samples.
            baud_rate: of `BAUD_RATES`, or 0 for the protocol's default.
            clock: host clock, ns.
            orientation: one of `orientation.MODES`.
            read_interval_s: see `SerialReader`.
            gyroscope_bias: site -> (3,) rad/s, from a calibration.
            sites: the worn sites, required and optional.

        Raises:
            PallasError: the ports or protocols are inconsistent, or the baud rate is out of range.
        """
        self.sites = worn_sites(tuple(sites))
        self.auto = list(ports) == [serial_ports.AUTO]
        if not self.auto and len(ports) != len(self.sites):
            raise PallasError(
                f"{len(ports)} ports are given: give one for each of {', '.join(self.sites)}, or"
                " only 'auto'"
            )
        if len(protocols) not in (1, len(self.sites)):
            raise PallasError(
                f"{len(protocols)} protocols are given: give one for all sensors, or one for each"
                f" of {', '.join(self.sites)}"
            )
        if self.auto and len(set(protocols)) > 1:
            raise PallasError(
                "with 'auto' it is not known which protocol belongs to which port: give one"
                " protocol for all sensors, or name the ports"
            )
        self._protocols = [
            protocol(name) for name in (list(protocols) * len(self.sites))[: len(self.sites)]
        ]
        self._ports = [
            str(expanded(port)) if not port.startswith(serial_ports.USB) else port for port in ports
        ]
        if len(set(self._ports)) < len(self._ports):
            raise PallasError("two sites have the same port: give each sensor its own")
        self._options: dict[str, Any] = {
            "common": CommonField(),
            "baud_rate": check_baud_rate("baud_rate", baud_rate) or None,
            "clock": clock,
            "orientation": orientation,
            "least_interval_s": read_interval_s,
        }
        self._bias = dict(gyroscope_bias or {})
        self._on_sample = on_sample
        self._assigner: ShakeAssigner | None = None
        self._site_of: dict[str, str] = {}
        self.readers: list[SerialReader] = []
        self._alike: list[str] = []

    def check(self, wait_s: float = 0.0) -> None:
        """Wait up to ``wait_s`` until the ports exist, and check that they are not in use.

        Raises:
            PallasError: a port is missing or in use.
        """
        if self.auto:
            return
        until = time.monotonic() + wait_s
        taken: dict[str, str] = {}
        for site, port in zip(self.sites, self._ports, strict=True):
            while (path := serial_ports.resolve(port)) is None:
                if time.monotonic() >= until:
                    raise PallasError(f"the port of {site}: {serial_ports.why_absent(port)}")
                time.sleep(_LOOK_S)
            first = taken.setdefault(os.path.realpath(path), site)
            if first != site:
                raise PallasError(
                    f"{first} and {site} have the same port, {path}: give each sensor its own"
                )
            try:
                serial.Serial(path, exclusive=True).close()
            except (OSError, ValueError) as error:
                why = (
                    "another program is using it: stop that program"
                    if "exclusively" in str(error)
                    else f"it cannot be opened ({error}): check it"
                )
                raise PallasError(
                    f"the port of {site}, {port}: {why}, or set parameter 'ports'"
                ) from None

    def identities(self) -> dict[str, str]:
        """Return site -> identity of the sensor at its port, before reading.

        Empty if ports are assigned by shaking.
        """
        if self.auto:
            return {}
        paths = {
            site: serial_ports.resolve(port)
            for site, port in zip(self.sites, self._ports, strict=True)
        }
        return {
            site: serial_ports.identity(path) for site, path in paths.items() if path is not None
        }

    def start(self) -> None:
        """Start reading.

        Raises:
            PallasError: ports are to be assigned by shaking, and there are too few.
        """
        if self.auto:
            found = serial_ports.candidates()
            self._assigner = ShakeAssigner(found, self.sites)
            self.readers = [
                SerialReader(port, self._protocols[0], port, self._assign, **self._options)
                for port in found
            ]
        else:
            self.readers = [
                SerialReader(
                    port,
                    spec,
                    site,
                    self._on_sample,
                    gyroscope_bias=self._bias.get(site),
                    **self._options,
                )
                for port, spec, site in zip(self._ports, self._protocols, self.sites, strict=True)
            ]
            self._alike = self._look_alike()
        for reader in self.readers:
            reader.start()

    def stop(self) -> None:
        """Stop all threads and close the ports."""
        readers = self.readers
        self.readers = []
        for reader in readers:  # all at once: each may wait for a silent sensor
            reader.ask_to_stop()
        for reader in readers:
            reader.stop()

    @property
    def request(self) -> str | None:
        """Return the current instruction to the operator while sensors are assigned by shaking."""
        return (
            self._assigner.request
            if self._assigner is not None and self._assigner.asked is not None
            else None
        )

    def stats(self) -> list[ReaderStats]:
        """Statistics of each reader; assigned sensors by their site."""
        stats = [reader.stats() for reader in self.readers]
        for of_reader in stats:
            of_reader.site = self._site_of.get(of_reader.site, of_reader.site)
        return stats

    def sensors(self) -> dict[str, str]:
        """Site -> identity of its sensor, if known."""
        worn = (
            (self._site_of.get(reader.site, reader.site), reader.sensor) for reader in self.readers
        )
        return {site: sensor for site, sensor in worn if sensor and site in self.sites}

    def problems(self) -> list[str]:
        """Current problems, one sentence per site, and adapters that cannot be distinguished."""
        problems = [f"{stats.site}: {stats.problem}" for stats in self.stats() if stats.problem]
        return problems + self._alike

    def notices(self) -> list[str]:
        """Notices about the adapters for the wearer."""
        return list(self._alike)

    def _look_alike(self) -> list[str]:
        """Describe adapters with equal serial numbers."""
        paths = {site: serial_ports.resolve(port) for site, port in zip(self.sites, self._ports)}
        known = {site: path for site, path in paths.items() if path is not None}
        return [
            f"the adapters of {', '.join(sites)} have the same serial number, so a calibration"
            " cannot be checked against its sensors: label sensors and sockets"
            for sites in serial_ports.same_numbers(known)
        ]

    def figures(self) -> dict[str, str]:
        """Rates, losses, latencies and temperatures by site, for diagnostics."""
        out = {}
        for s in self.stats():
            temperature = "" if s.temperature is None else f", {s.temperature:.0f} degrees C"
            bias = (
                ""
                if s.gyroscope_bias is None
                else ", gyroscope bias "
                + " ".join(f"{v:+.4f}" for v in s.gyroscope_bias)
                + " rad/s"
            )
            jumps = f", clock jumped {s.clock_jumps} times" if s.clock_jumps else ""
            out[s.site] = (
                f"{s.rate_hz:.1f} Hz, {s.samples} samples, {s.lost} lost, {s.checksum_errors}"
                f" checksum errors, {s.skipped_bytes} bytes skipped, latency"
                f" {1e3 * s.latency_s[0]:.1f} ms (p99 {1e3 * s.latency_s[1]:.1f}), clock"
                f" {s.skew_ppm:+.0f} ppm, opened {s.connections} times{jumps}{temperature}{bias}"
            )
            out[f"{s.site} sensor"] = s.sensor
        return out

    def _assign(self, port: str, sample: ImuSample) -> None:
        site = self._site_of.get(port)
        if site is not None:
            self._on_sample(site, sample)
            return
        assert self._assigner is not None
        self._assigner.push(port, sample)
        if self._assigner.asked is None:
            self._site_of = {port: site for site, port in self._assigner.assigned.items()}
            self._release_others()

    def _release_others(self) -> None:
        """End the readers of ports that were not assigned: they belong to other devices.

        Runs in the thread of a reader, which cannot wait for itself.
        """
        for reader in self.readers:
            if reader.port not in self._site_of:
                reader.ask_to_stop()
        self.readers = [reader for reader in self.readers if reader.port in self._site_of]
