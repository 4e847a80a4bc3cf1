"""Calibration document: how each sensor is mounted on its bone and where its heading points.

Includes the calibration from a T-pose.

A sensor reports ``q_ref_sensor``: sensor to its own reference frame, whose z is up and whose
heading is arbitrary. With the sensor-to-bone rotation ``q_bone_sensor`` and the heading offset of
the reference frame::

    q_world_bone = about_z(heading_offset) * q_ref_sensor * inverse(q_bone_sensor)

The world frame is aligned with the wearer: +x is where they faced when calibrated.
"""

import datetime
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
from pallas_ros.imu import mistakes
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.stillness import StillLimits, StillnessDetector, StillPose

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
            raise PallasError(
                f"no calibration for {site}: calibrate with the sensors that are worn"
            )
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


class KnownPoseCalibrator:
    """Wait until the wearer stands still in a known pose, and calibrate from it.

    One pose determines the tilt of every sensor but not its heading: turning a sensor about the
    vertical is indistinguishable from turning its reference frame. The heading is therefore derived
    from how each sensor is worn (``q_bone_sensor``, default: x forward, y left, z up in the T-pose;
    `docs/guide/sensors.md`), so that magnetometers and the headings of the reference frames do not
    matter. If a sensor is worn askew about the vertical, that error remains; the guided procedure
    removes it.

    Attributes:
        problem: why there is no calibration yet, as a sentence.
        mistakes: every mistake reported so far, in order.
    """

    pose_name = "the given pose"
    procedure = "known_pose"
    mounts = True

    def __init__(
        self,
        q_world_bone: Mapping[str, Array],
        q_bone_sensor: Mapping[str, Array] | None = None,
        limits: StillLimits | None = None,
        sensors: Mapping[str, str] | None = None,
        sites: Sequence[str] = SITES,
    ) -> None:
        """Set the pose and the mounting.

        Args:
            q_world_bone: site -> (4,) xyzw, the bone's orientation in the pose, the wearer facing
                +x.
            q_bone_sensor: site -> (4,) xyzw, how each sensor is worn.
            limits: thresholds for standing still.
            sensors: site -> identity of the sensor, stored in the document.
            sites: the worn sites, required and optional.
        """
        given = q_bone_sensor or {}
        self.q_world_bone = {site: np.asarray(q_world_bone[site], np.float64) for site in sites}
        self.q_bone_sensor = {site: given.get(site, rotations.IDENTITY) for site in sites}
        self.sensors = dict(sensors or {})
        self._detector = StillnessDetector(limits, sites)
        self._fault = ""  # found in the last still pose; moving does not clear it
        self.problem = "no samples yet"
        self.mistakes: list[str] = []

    def push(self, site: str, sample: ImuSample) -> Calibration | None:
        """Process a raw sample of a site.

        Returns the calibration once the wearer has stood still in the pose, else None (see
        `problem`).
        """
        poses = self._detector.push(site, sample)
        if poses is None:
            if self._detector.moving and not self._fault:
                self.problem = f"stand still in {self.pose_name}: {self._detector.moving}"
            return None
        as_worn = {
            s: rotations.multiply(self.q_world_bone[s], self.q_bone_sensor[s]) for s in poses
        }
        found = mistakes.at_rest(poses) or mistakes.worn(poses, as_worn)
        self._fault = self.problem = found[0] if found else ""
        if found:
            if found[0] not in self.mistakes:
                self.mistakes.append(found[0])
            return None
        headings = {
            s: worn_heading(pose, self.q_world_bone[s], self.q_bone_sensor[s])
            for s, pose in poses.items()
        }
        return pose_calibration(poses, self.q_world_bone, headings, self.sensors, self.procedure)


class TPoseCalibrator(KnownPoseCalibrator):
    """Wait until the wearer stands still in the T-pose, and calibrate from it.

    See `KnownPoseCalibrator`.
    """

    pose_name = "the T-pose"
    procedure = "tpose"

    def __init__(
        self,
        q_bone_sensor: Mapping[str, Array] | None = None,
        limits: StillLimits | None = None,
        sensors: Mapping[str, str] | None = None,
        sites: Sequence[str] = SITES,
    ) -> None:
        """See `KnownPoseCalibrator`."""
        upright = dict.fromkeys(sites, rotations.IDENTITY)
        super().__init__(upright, q_bone_sensor, limits, sensors, sites)


def pose_calibration(
    poses: Mapping[str, StillPose],
    q_world_bone: Mapping[str, Array],
    heading_offset: Mapping[str, float],
    sensors: Mapping[str, str],
    procedure: str,
) -> Calibration:
    """Calibrate from one still pose with known bone orientations and reference headings.

    Args:
        poses: pose of each sensor.
        q_world_bone: (4,) xyzw, each bone's orientation in the pose.
        heading_offset: rad, of each reference frame (`worn_heading` if nothing better is known).
        sensors: identities, stored in the document.
        procedure: name of the procedure.
    """
    sites = {}
    for site, pose in poses.items():
        q_world_sensor = rotations.multiply(
            rotations.about_z(heading_offset[site]), pose.q_ref_sensor
        )
        sites[site] = SiteCalibration(
            q_bone_sensor=rotations.multiply(rotations.inverse(q_world_bone[site]), q_world_sensor),
            heading_offset=heading_offset[site],
            acceleration_scale=GRAVITY / pose.gravity,
            gyroscope_bias=pose.rate,
            residual=pose.deviation,
            sensor=sensors.get(site, ""),
        )
    return Calibration(sites, procedure, today())


def worn_heading(pose: StillPose, q_world_bone: Array, q_bone_sensor: Array) -> float:
    """Return the heading offset in rad of a sensor's reference frame.

    Assumes that the sensor is mounted as ``q_bone_sensor`` (4,), except for its tilt.
    """
    as_worn = rotations.multiply(q_world_bone, q_bone_sensor)
    q_world_ref = rotations.multiply(as_worn, rotations.inverse(pose.q_ref_sensor))
    return float(rotations.turn_about_z(q_world_ref))


def today() -> str:
    """Return the date for a calibration: ISO 8601, UTC, in seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


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
