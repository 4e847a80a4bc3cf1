"""Calibration from one still pose whose bone orientations are known, such as the T-pose."""

import datetime
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu import mistakes
from pallas_ros.imu.calibration import Calibration, SiteCalibration
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.stillness import StillLimits, StillnessDetector, StillPose


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
        found_here = pose_calibration(
            poses, self.q_world_bone, headings, self.sensors, self.procedure
        )
        found_here.warnings += left_out(self.q_world_bone, found_here)
        return found_here


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


def left_out(worn: Iterable[str], calibration: Calibration) -> list[str]:
    """Describe the worn sites that are missing from a calibration because they sent no usable
    samples.
    """
    return [
        f"{site}: no usable samples, so it was left out and is not used: check the sensor, then"
        " calibrate again"
        for site in worn
        if site not in calibration.sites
    ]


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
