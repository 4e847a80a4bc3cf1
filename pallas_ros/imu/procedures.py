"""Calibration procedures by name, as offered by the calibration service and `pallas calibrate`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.body.sites import SITE
from pallas_ros.imu import mistakes
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.known_pose import KnownPoseCalibrator, TPoseCalibrator, today
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.stillness import StillLimits, StillnessDetector, StillPose


class Calibrator(Protocol):
    """Takes raw samples until a calibration is found; ``problem`` says what is missing.

    ``mistakes``: every mistake reported so far. ``mounts``: whether it determines the mounting, or
    only refreshes an existing calibration (and checks the sensors it was made with).
    """

    problem: str
    mistakes: list[str]
    mounts: bool

    def push(self, site: str, sample: ImuSample) -> Calibration | None:
        """Process one raw sample."""


PROCEDURES: dict[str, str] = {
    "rest": (
        "stand still in any pose: checks the sensors, and refreshes gyroscope bias and scale of"
        " the existing calibration"
    ),
    "tpose": "stand still in the T-pose; headings follow from the documented mounting",
    "npose_tpose": "N-pose, then T-pose; headings of the wrists are measured",
    "functional": (
        "N-pose, T-pose, elbows, bow, turn; headings of the four required sensors are measured, and"
        " any mounting of them is possible"
    ),
    "known_pose": "stand still in a pose whose joint rotations are given",
}
"""Instruction of each procedure to the wearer."""


class RestCalibrator:
    """Check sensors at rest, in any pose, and refresh what can be measured there.

    See `Calibrator`.
    """

    mounts = False

    def __init__(self, current: Calibration, limits: StillLimits) -> None:
        self._current = current
        self._detector = StillnessDetector(limits, tuple(current.sites))
        self._fault = ""
        self.problem = "no samples yet"
        self.mistakes: list[str] = []

    def push(self, site: str, sample: ImuSample) -> Calibration | None:
        """Process one raw sample."""
        poses = self._detector.push(site, sample)
        if poses is None:
            if self._detector.moving and not self._fault:
                self.problem = f"stand still: {self._detector.moving}"
            return None
        wrong = mistakes.at_rest(poses)
        self._fault = self.problem = wrong[0] if wrong else ""
        if wrong:
            if wrong[0] not in self.mistakes:
                self.mistakes.append(wrong[0])
            return None
        sites = {
            site: replace(
                of_site,
                gyroscope_bias=poses[site].rate,
                acceleration_scale=GRAVITY / poses[site].gravity,
            )
            for site, of_site in self._current.sites.items()
            if site in poses
        }
        refreshed = {**self._current.sites, **sites}
        return Calibration(refreshed, self._current.procedure, today(), self._warnings(poses))

    def _warnings(self, poses: Mapping[str, StillPose]) -> list[str]:
        """Return the warnings of the existing calibration, and those about sites without a pose."""
        unusable = {
            site: (
                f"{site}: no usable samples, so its calibration was not refreshed: check the"
                " sensor, then repeat the procedure"
            )
            for site in self._current.sites
        }
        kept = [warning for warning in self._current.warnings if warning not in unusable.values()]
        return kept + [warning for site, warning in unusable.items() if site not in poses]


def calibrator(
    procedure: str,
    still_s: float = 1.5,
    joints: Mapping[str, Sequence[float]] | None = None,
    current: Calibration | None = None,
    worn: Mapping[str, Array] | None = None,
    sensors: Mapping[str, str] | None = None,
    sites: Sequence[str] = SITES,
) -> Calibrator:
    """Return a calibrator for ``procedure``.

    Args:
        procedure: a name of `PROCEDURES`.
        still_s: s to stand still.
        joints: of known_pose: joint -> global orientation (4,) xyzw, the wearer facing +x; at least
            pelvis, neck, left_elbow, right_elbow.
        current: of rest: the calibration to refresh.
        worn: site -> (4,) xyzw, how the sensors are worn; None: as documented, and for functional
            any way.
        sensors: site -> identity of the sensor, stored in the document.
        sites: the worn sites, required and optional.

    Raises:
        PallasError: the procedure is unknown, or a required argument is missing.
    """
    limits = StillLimits(duration_s=still_s)
    if procedure == "tpose":
        return TPoseCalibrator(worn, limits, sensors, sites)
    if procedure == "npose_tpose":
        return GuidedCalibrator(
            False, worn or dict.fromkeys(sites, rotations.IDENTITY), limits, sensors, sites
        )
    if procedure == "functional":
        return GuidedCalibrator(True, worn, limits, sensors, sites)
    if procedure == "known_pose":
        return KnownPoseCalibrator(_bones(joints or {}, sites), worn, limits, sensors, sites)
    if procedure == "rest":
        if current is None:
            raise PallasError(
                "the procedure 'rest' refreshes a calibration, but there is none yet: use tpose,"
                " npose_tpose or functional first"
            )
        return RestCalibrator(current, limits)
    raise PallasError(
        f"unknown calibration procedure '{procedure}': known are {', '.join(PROCEDURES)}"
    )


def _bones(joints: Mapping[str, Sequence[float]], sites: Sequence[str]) -> dict[str, Array]:
    bones = {}
    for site in sites:
        joint = SITE[site].joint
        if joint not in joints:
            raise PallasError(
                f"the known pose gives no orientation of {joint}, which the {site} sensor measures"
            )
        q = np.asarray(joints[joint], dtype=np.float64)
        if q.shape != (4,) or not abs(float(np.linalg.norm(q)) - 1) < 0.02:
            raise PallasError(
                f"the known pose gives {joint} an orientation that is not a unit quaternion (xyzw)"
            )
        bones[site] = rotations.normalise(q)
    return bones
