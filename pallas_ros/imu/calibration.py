"""Calibration document: how each sensor is mounted on its bone and where its heading points.

Includes the calibration from a T-pose.

A sensor reports ``q_ref_sensor``: sensor to its own reference frame, whose z is up and whose
heading is arbitrary. With the sensor-to-bone rotation ``q_bone_sensor`` and the heading offset of
the reference frame::

    q_world_bone = about_z(heading_offset) * q_ref_sensor * inverse(q_bone_sensor)

The world frame is aligned with the wearer: +x is where they faced when calibrated.
"""

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.files.opening import read_text
from pallas_ros.files.yaml_text import parse_yaml
from pallas_ros.imu.sample import GRAVITY, ImuSample

FORMAT = "pallas-calibration/1"


@dataclass(slots=True)
class SiteCalibration:
    """Calibration of one sensor on one bone.

    Attributes:
        q_bone_sensor: (4,) xyzw, sensor to bone.
        heading_offset: rad, rotates the sensor's reference frame about z into the world.
        acceleration_scale: factor for the measured acceleration, so that it is 9.80665 m/s^2 at
            rest.
        gyroscope_bias: (3,) rad/s in the sensor frame, measured at rest.
        residual: rad, motion of the sensor while held still, or disagreement between the poses.
        sensor: identity of the sensor (USB serial number or port), empty if unknown.
    """

    q_bone_sensor: Array
    heading_offset: float = 0.0
    acceleration_scale: float = 1.0
    gyroscope_bias: Array = field(default_factory=lambda: np.zeros(3))
    residual: float = 0.0
    sensor: str = ""


@dataclass(slots=True)
class Calibration:
    """Converts raw samples into bone orientations and gravity-free accelerations in the world.

    Saved as YAML.

    Attributes:
        sites: calibration of each site.
        procedure: how it was found ("tpose", "npose_tpose", "functional", "known_pose",
            "identity").
        date: ISO 8601, when it was found.
        warnings: sentences about problems during the procedure.
    """

    sites: dict[str, SiteCalibration]
    procedure: str = "identity"
    date: str = ""
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def identity(cls, sites: Sequence[str] = SITES) -> "Calibration":
        """Return the calibration of sensors that already report bone orientations and specific
        force.

        Their world frame is aligned with the wearer, who faces +x.
        """
        return cls({site: SiteCalibration(rotations.IDENTITY.copy()) for site in sites})

    def apply(self, site: str, sample: ImuSample) -> tuple[Array, Array]:
        """Return bone orientation and free acceleration of one raw sample.

        Returns:
            ``q_world_bone`` (4,) xyzw, and the acceleration of the sensor (3,) m/s^2 in the world,
            gravity removed. The norm of the sample's quaternion is preserved for later checks.

        Raises:
            PallasError: the site is not calibrated, or the sample has no orientation.
        """
        of_site = self.sites.get(site)
        if of_site is None:
            raise PallasError(f"no calibration for {site}: calibrate with the worn sensors")
        if sample.orientation is None:
            raise PallasError(
                f"{site} has no orientation: let the driver estimate it (parameter 'orientation')"
            )
        # Scalar arithmetic, because this runs 400 times a second: numpy takes ten times as long for
        # four numbers. q_world_sensor = about_z(heading_offset) * orientation
        x, y, z, w = sample.orientation.tolist()
        c = math.cos(0.5 * of_site.heading_offset)
        s = math.sin(0.5 * of_site.heading_offset)
        x, y, z, w = c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z
        # q_world_bone = q_world_sensor * inverse(q_bone_sensor)
        bx, by, bz, bw = of_site.q_bone_sensor.tolist()
        q_world_bone = np.array(
            (
                -w * bx + x * bw - y * bz + z * by,
                -w * by + x * bz + y * bw - z * bx,
                -w * bz - x * by + y * bx + z * bw,
                w * bw + x * bx + y * by + z * bz,
            )
        )
        # acceleration = rotate(q_world_sensor, scale * specific force) - gravity
        ax, ay, az = sample.acceleration.tolist()
        scale = of_site.acceleration_scale
        ax = ax * scale
        ay = ay * scale
        az = az * scale
        tx = 2 * (y * az - z * ay)
        ty = 2 * (z * ax - x * az)
        tz = 2 * (x * ay - y * ax)
        acceleration = np.array(
            (
                ax + w * tx + y * tz - z * ty,
                ay + w * ty + z * tx - x * tz,
                az + w * tz + x * ty - y * tx - GRAVITY,
            )
        )
        return q_world_bone, acceleration

    def name_sensors(self, connected: Mapping[str, str]) -> None:
        """Record the connected sensors (site -> identity) where none is recorded yet."""
        for site, of_site in self.sites.items():
            of_site.sensor = of_site.sensor or connected.get(site, "")

    def check_sensors(self, connected: Mapping[str, str]) -> None:
        """Reject the calibration if made with sensors other than ``connected`` (site -> identity).

        Raises:
            PallasError: names the first site whose sensor differs. Only serial numbers
                (``usb:...``) are compared: a path does not identify a sensor.
        """
        numbers = [of_site.sensor for of_site in self.sites.values()]
        for site, of_site in self.sites.items():
            here = connected.get(site, "")
            if (
                numbers.count(of_site.sensor) == 1  # a duplicate serial number identifies no sensor
                and of_site.sensor.startswith("usb:")
                and here.startswith("usb:")
                and here != of_site.sensor
            ):
                elsewhere = [s for s, other in self.sites.items() if other.sensor == here]
                hint = f" (it belongs on {elsewhere[0]})" if elsewhere else ""
                raise PallasError(
                    f"the calibration of {self.date or 'unknown date'} was made with sensor"
                    f" {of_site.sensor} on {site}, but {here} is there{hint}: swap the sensors"
                    " back, or calibrate again"
                )

    def to_yaml(self) -> str:
        """Return the calibration as a YAML document."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "procedure": self.procedure,
            "date": self.date,
            "warnings": list(self.warnings),
        }
        document["sites"] = {site: _plain(asdict(of_site)) for site, of_site in self.sites.items()}
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)

    @classmethod
    def from_yaml(cls, text: str, name: str = "calibration") -> "Calibration":
        """Parse a YAML document; ``name`` is used in error messages.

        Raises:
            PallasError: the document is not a calibration.
        """
        document = parse_yaml(text, name, "calibration file (make one with `pallas calibrate`)")
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise PallasError(
                f"{name}: not a calibration of format {FORMAT}: give a file written by `pallas"
                " calibrate`"
            )
        try:
            sites = {str(site): _site_from(entry) for site, entry in document["sites"].items()}
            warnings = [str(warning) for warning in document.get("warnings") or []]
            calibration = cls(
                sites, str(document.get("procedure", "")), str(document.get("date", "")), warnings
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PallasError(f"{name}: damaged calibration ({error}): calibrate again") from None
        unknown = [site for site in calibration.sites if site not in ALL_SITES]
        if unknown:
            raise PallasError(
                f"{name}: unknown sensor site '{unknown[0][:40]}': known are {', '.join(ALL_SITES)}"
            )
        missing = [site for site in SITES if site not in calibration.sites]
        if missing:
            raise PallasError(
                f"{name}: no calibration for {', '.join(missing)}: calibrate with all four sensors"
                " worn"
            )
        return calibration

    def save(self, path: str | Path, overwrite: bool = True) -> None:
        """Write the YAML document atomically.

        Raises:
            FileExistsError: the file exists, and ``overwrite`` is False.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(
                    "# Calibration of worn IMUs (pallas). Angles in rad, quaternions xyzw, sensor"
                    " to bone.\n"
                )
                file.write(self.to_yaml())
            os.chmod(temporary, 0o644)
            if not overwrite:
                path.touch(exist_ok=False)  # reserves the name
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a calibration file.

        Raises:
            PallasError: the file is missing, or is not a calibration.
        """
        what = "calibration file (make one with `pallas calibrate`)"
        return cls.from_yaml(read_text(path, what), str(path))


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [round(float(v), 9) for v in value]
        return value if isinstance(value, str) else round(float(value), 9)

    return {key: plain(value) for key, value in entry.items()}


def _site_from(entry: dict[str, Any]) -> SiteCalibration:
    q_bone_sensor = np.array(entry["q_bone_sensor"], dtype=np.float64)
    bias = np.array(entry.get("gyroscope_bias", [0.0, 0.0, 0.0]), dtype=np.float64)
    if q_bone_sensor.shape != (4,) or not abs(float(np.linalg.norm(q_bone_sensor)) - 1) < 0.01:
        raise ValueError("q_bone_sensor is not a unit quaternion")
    scale = float(entry.get("acceleration_scale", 1.0))
    heading = float(entry["heading_offset"])
    if (
        bias.shape != (3,)
        or not np.isfinite(bias).all()
        or not np.isfinite(heading)
        or not 0.05 < scale < 20
    ):
        raise ValueError("a number is out of range")
    return SiteCalibration(
        rotations.normalise(q_bone_sensor),
        heading,
        scale,
        bias,
        float(entry.get("residual", 0.0)),
        str(entry.get("sensor", "")),
    )
