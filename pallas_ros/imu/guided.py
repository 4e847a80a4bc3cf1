"""Guided calibration: still poses and simple movements, without knowing how the sensors are worn.

1. N-pose, still: noise, gyroscope bias and gravity of every sensor.
2. T-pose, still: together with the N-pose, the mounting of each sensor; the swing of the arms gives
   the heading of the wrist sensors.
3. If functional: elbows bent, a bow, a turn of the whole body. The axes of elbows and bow determine
   the heading of every required sensor relative to the body without magnetometers; the turn reveals
   a sensor that slips.

Left and right, neck and waist are distinguished by how they move.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu import mistakes
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.hinge import Hinge, hinge, mean_angle, turned_about_z, wrap
from pallas_ros.imu.known_pose import left_out, pose_calibration, worn_heading
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.steps import DEGREE, N_POSE, STEPS, TRUNK, WRISTS, Step
from pallas_ros.imu.stillness import StillLimits, StillnessDetector, StillPose

_KEEP_S = 1 / 100  # movements are stored at this rate at most


class GuidedCalibrator:
    """Guide the wearer through the steps and compute the calibration from the samples.

    Attributes:
        problem: current obstacle, else the wearer's instruction.
        finished: names of the completed steps.
        mistakes: every mistake reported so far, in order.
    """

    mounts = True

    def __init__(
        self,
        functional: bool = True,
        q_bone_sensor: Mapping[str, Array] | None = None,
        limits: StillLimits | None = None,
        sensors: Mapping[str, str] | None = None,
        sites: Sequence[str] = SITES,
    ) -> None:
        """Set the procedure and the mounting.

        Args:
            functional: include elbows, bow and turn; without them, waist and neck take their
                heading from how they are worn.
            q_bone_sensor: site -> (4,) xyzw, how each sensor is worn; None: any way, and then an
                upside-down sensor is not detected.
            limits: thresholds for standing still.
            sensors: site -> identity of the sensor, stored in the document.
            sites: the worn sites; optional ones take their heading from how they are worn.
        """
        self.steps = STEPS if functional else STEPS[:2]
        self.functional = functional
        self.finished: list[str] = []
        self.mistakes: list[str] = []
        self.problem = self.steps[0].instruction
        self._worn = q_bone_sensor
        self._sensors = dict(sensors or {})
        self._detector = StillnessDetector(limits or StillLimits(duration_s=1.2), sites)
        self._sites = tuple(sites)
        self._used = tuple(sites)  # without those that were silent in a pose
        self._poses: dict[str, dict[str, StillPose]] = {}
        self._movements: dict[str, dict[str, Hinge]] = {}
        self._start: dict[str, StillPose] = {}
        self._path: dict[str, list[Array]] = {site: [] for site in self._sites}
        self._kept: dict[str, int] = {}

    @property
    def instruction(self) -> str:
        """Current instruction to the wearer."""
        return (
            self.steps[len(self.finished)].instruction
            if len(self.finished) < len(self.steps)
            else "done"
        )

    @property
    def progress(self) -> float:
        """Fraction of completed steps, 0 to 1."""
        return len(self.finished) / len(self.steps)

    def push(self, site: str, sample: ImuSample) -> Calibration | None:
        """Process a raw sample of a site; return the calibration after the last step, else None."""
        if len(self.finished) == len(self.steps) or site not in self._path:
            return None
        if (
            sample.orientation is not None
            and abs(sample.stamp - self._kept.get(site, 0)) >= _KEEP_S * 1e9
        ):
            self._path[site].append(sample.orientation)
            self._kept[site] = sample.stamp
        poses = self._detector.push(site, sample)
        if poses is None:
            if self._detector.moving and not self._moved_enough():
                self.problem = self.instruction
            elif self._detector.moving and self.problem not in self.mistakes:
                self.problem = f"hold still: {self._detector.moving}"
            return None
        return self._still(poses)

    def _moved_enough(self) -> bool:
        step = self.steps[len(self.finished)]
        return not step.moves or all(self._turn(site) > step.least for site in step.moves)

    def _turn(self, site: str) -> float:
        path = self._path[site]
        if site not in self._start or not path:
            return 0.0
        ends = np.array(path[-1:] + path[:: max(len(path) // 40, 1)])
        return float(rotations.angle_between(self._start[site].q_ref_sensor, ends).max())

    def _still(self, poses: dict[str, StillPose]) -> Calibration | None:
        """Decide whether the step ends, now that all sensors rest."""
        step = self.steps[len(self.finished)]
        if step.name == "npose":
            wrong = mistakes.at_rest(poses)
            if wrong:
                self._name(wrong[0])
                return None
        else:
            movement = {
                site: hinge(self._start[site].q_ref_sensor, self._path[site]) for site in SITES
            }
            if max(m.angle for m in movement.values()) < step.least:
                # the movement has not begun; only rest was recorded
                self.problem = self.problem if self.problem in self.mistakes else self.instruction
                self._begin(poses)
                return None
            wrong = self._check(step, movement, poses)
            if wrong:
                self._name(wrong[0])
                self._begin(poses)
                return None
            self._movements[step.name] = movement
        self._poses[step.name] = poses
        self._used = tuple(site for site in self._used if site in poses)
        self.finished.append(step.name)
        self.problem = self.instruction
        self._begin(poses)
        return self._conclude() if len(self.finished) == len(self.steps) else None

    def _name(self, mistake: str) -> None:
        self.problem = mistake
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _begin(self, poses: dict[str, StillPose]) -> None:
        self._start = poses
        for path in self._path.values():
            path.clear()
        self._detector.clear()

    # Checks of the movements

    def _check(
        self, step: Step, movement: dict[str, Hinge], poses: dict[str, StillPose]
    ) -> list[str]:
        angle = {site: movement[site].angle for site in SITES}
        if step.name in ("tpose", "lower", "elbows"):
            wrong = self._arms_moved(step, angle)
            if not wrong and step.name == "tpose" and self._worn is not None:
                wrong = mistakes.worn(poses, self._worn) or self._sides_as_worn(
                    movement, poses, self._worn
                )
            if not wrong and step.name == "elbows":
                wrong = self._sides(movement)
            return wrong
        if step.name == "bow" and angle["pelvis"] > 1.2 * angle["neck"]:
            return [
                (
                    "neck and pelvis sensors are exchanged: in the bow the sensor named pelvis"
                    f" turned {np.degrees(angle['pelvis']):.0f} degrees, the one named neck"
                    f" {np.degrees(angle['neck']):.0f}; the neck must turn further"
                )
            ]
        if step.name == "bow" and angle["neck"] < step.least:
            return [_too_little("neck", angle["neck"], step)]
        if step.name == "turn":
            about_z = {
                site: turned_about_z(self._start[site].q_ref_sensor, self._path[site])
                for site in self._used
                if site not in SITES and site in self._start and site in poses
            }
            return mistakes.slips(angle, about_z)
        return []

    def _arms_moved(self, step: Step, angle: dict[str, float]) -> list[str]:
        still = [site for site in WRISTS if angle[site] < step.least]
        astray = [site for site in TRUNK if angle[site] > 0.8 * step.least]
        if still and astray:
            return [
                (
                    f"the sensors of {still[0]} and {astray[0]} are exchanged: {astray[0]} moved"
                    f" with the arm and {still[0]} did not"
                )
            ]
        if still:
            return [_too_little(still[0], angle[still[0]], step)]
        if astray:
            turned = np.degrees(angle[astray[0]])
            return [
                (
                    f"{astray[0]}: turned {turned:.0f} degrees while only the arms should move:"
                    f" {step.instruction}"
                )
            ]
        return []

    def _sides(self, movement: dict[str, Hinge]) -> list[str]:
        """Check left and right.

        The arms swing in opposite directions to the T-pose and in the same direction at the elbows;
        exchanged sensors contradict that.
        """
        contrary = []
        for site in WRISTS:
            by_swing = self._swing_heading(site)
            by_elbow = wrap(_ELBOW_HEADING - movement[site].heading)
            contrary.append(abs(wrap(by_swing - by_elbow)) > np.pi / 2)
        if all(contrary):
            return [_EXCHANGED]
        if any(contrary):
            site = WRISTS[contrary.index(True)]
            return [
                (
                    f"{site}: raising the arm and bending the elbow contradict each other: the"
                    " sensor slips, or the elbow bent to the side"
                )
            ]
        return []

    def _sides_as_worn(
        self, movement: dict[str, Hinge], poses: dict[str, StillPose], worn: Mapping[str, Array]
    ) -> list[str]:
        """Check left and right from the swing of the arms alone, if the mounting is known."""
        contrary = []
        for site in WRISTS:
            by_swing = _swing_heading(site, movement[site])
            as_worn = worn_heading(
                poses[site], rotations.IDENTITY, worn.get(site, rotations.IDENTITY)
            )
            contrary.append(abs(wrap(by_swing - as_worn)) > np.pi / 2)
        if all(contrary):
            return [_EXCHANGED]
        if any(contrary):
            return [
                (
                    f"{WRISTS[contrary.index(True)]}: the sensor is rotated by half a turn: its x"
                    " axis must point forward in the T-pose"
                )
            ]
        return []

    # Results

    def _swing_heading(self, site: str) -> float:
        """Return the heading offset in rad from the arm's swing to the T-pose and back, if done."""
        headings = [_swing_heading(site, self._movements["tpose"][site])]
        if "lower" in self._movements:
            headings.append(_swing_heading(site, self._movements["lower"][site]) + np.pi)
        return mean_angle(headings, [1.0] * len(headings))

    def _headings(self) -> dict[str, float]:
        headings: dict[str, float] = {}
        for site in self._used:
            tpose = self._poses["tpose"][site]
            worn = (self._worn or {}).get(site, rotations.IDENTITY)
            if site in WRISTS:
                headings[site] = self._swing_heading(site)
                if self.functional:
                    by_elbow = wrap(_ELBOW_HEADING - self._movements["elbows"][site].heading)
                    headings[site] = mean_angle([headings[site], by_elbow], [1.0, 1.0])
            elif self.functional and site in SITES:
                # a bow is a rotation about +y
                headings[site] = wrap(np.pi / 2 - self._movements["bow"][site].heading)
            else:
                headings[site] = worn_heading(tpose, rotations.IDENTITY, worn)
        return headings

    def _conclude(self) -> Calibration | None:
        """Return the calibration; None if it contradicts itself; then all steps are repeated."""
        calibration = self._found()
        worst = max(calibration.sites, key=lambda site: calibration.sites[site].residual)
        residual = calibration.sites[worst].residual
        if residual <= MOST_RESIDUAL:
            return calibration
        self.finished.clear()
        self._movements.clear()
        self._poses.clear()
        self._used = self._sites
        self._name(
            f"{worst}: N-pose and T-pose disagree by {np.degrees(residual):.0f} degrees: the steps"
            f" were not followed, or the sensor slipped; begin again: {self.instruction}"
        )
        return None

    def _found(self) -> Calibration:
        tpose = {site: self._poses["tpose"][site] for site in self._used}
        headings = self._headings()
        name = "functional" if self.functional else "npose_tpose"
        calibration = pose_calibration(
            tpose, dict.fromkeys(self._used, rotations.IDENTITY), headings, self._sensors, name
        )
        for site, of_site in calibration.sites.items():
            rest = self._poses["npose"][site]
            of_site.gyroscope_bias = rest.rate
            q_world_sensor = rotations.multiply(
                rotations.about_z(of_site.heading_offset), rest.q_ref_sensor
            )
            q_world_bone = rotations.multiply(
                q_world_sensor, rotations.inverse(of_site.q_bone_sensor)
            )
            of_site.residual = float(rotations.angle_between(q_world_bone, N_POSE[site]))
            if of_site.residual > 25 * DEGREE:
                calibration.warnings.append(
                    f"{site}: N-pose and T-pose disagree by {np.degrees(of_site.residual):.0f}"
                    " degrees: an arm was not level or not hanging, or the sensor slipped;"
                    " calibrate again if the figure looks wrong"
                )
        if self.functional:
            calibration.warnings += self._heading_warnings()
        elif self._worn is None:
            calibration.warnings.append(
                "the headings of pelvis and neck follow from the documented mounting; the"
                " functional procedure measures them"
            )
        calibration.warnings += left_out(self._sites, calibration)
        return calibration

    def _heading_warnings(self) -> list[str]:
        doubts = [
            f"{site}: its heading follows from the documented mounting, because no movement"
            " measures the heading of an optional sensor"
            for site in self._used
            if site not in SITES and self._worn is None
        ]
        for site in WRISTS:
            apart = abs(
                wrap(
                    self._swing_heading(site)
                    - wrap(_ELBOW_HEADING - self._movements["elbows"][site].heading)
                )
            )
            if apart > 20 * DEGREE:
                doubts.append(
                    f"{site}: arm swing and elbow give headings {np.degrees(apart):.0f} degrees"
                    " apart; their mean is used"
                )
        for site in TRUNK:
            bow = self._movements["bow"][site]
            if bow.angle < 12 * DEGREE:
                doubts.append(
                    f"{site}: it turned only {np.degrees(bow.angle):.0f} degrees in the bow, so"
                    " its heading is uncertain"
                )
        return doubts


_ELBOW_HEADING = float(-np.pi / 2)
"""Heading of the axis about which hanging forearms turn to the front: -y, for both arms."""

MOST_RESIDUAL = 45 * DEGREE
"""Beyond this N-pose and T-pose contradict each other. An arm that hangs 25 degrees away from the
trunk, or is held as much too low, is reported as a warning.
"""

_EXCHANGED = (
    "the sensors of left_wrist and right_wrist are exchanged: the arms swing in the opposite"
    " directions; swap the sensors"
)


def _too_little(site: str, angle: float, step: Step) -> str:
    return (
        f"{site}: turned only {np.degrees(angle):.0f} degrees, expected more than"
        f" {np.degrees(step.least):.0f}: {step.instruction}"
    )


def _swing_heading(site: str, raised: Hinge) -> float:
    """Return the heading offset in rad from raising an arm: left about +x, right about -x."""
    return wrap((0.0 if site == "left_wrist" else np.pi) - raised.heading)
