"""From samples to bodies: shared by `pallas_node` and `pallas process`, for equal results."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import DEFAULT_BODY_ID, EXTRA_SITES, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.files.yaml_text import parse_yaml
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.heading import HeadingDrift
from pallas_ros.imu.heading_reset import Turn, heading_turns
from pallas_ros.imu.hinge import wrap
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.procedures import Calibrator
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.synchroniser import Synchroniser

_MOST = 0.3
"""Share of rejected samples of a site that explains why there is no body."""

FROM_STAMP = "from_stamp"
"""Key of the published calibration document: timestamp (ns) from which it applies."""

_LEAP = 1_000_000_000  # ns: a timestamp this far back indicates a clock set back, not a late sample
_BEFORE_BELIEVED = 20  # consecutive samples


class Estimator(Protocol):
    """Estimate a body from a frame of the four sensors (`BodyEstimator`)."""

    def step(self, frame: ImuFrame) -> BodyFrame:
        """Return the body of the next frame."""
        ...

    def reset(self) -> None:
        """Reset the state."""
        ...


class Pipeline:
    """Calibrate, synchronise and estimate, as a deterministic function of the samples.

    Nothing here reads a clock. A calibration applies to samples stamped later than the one it was
    found with. A new calibration can be sought while bodies continue with the current one
    (`calibrate`).

    Attributes:
        intake: first stage of every sample: checks, orientation estimation, counts of rejections.
        calibration: the current calibration, or None.
        from_stamp: ns, timestamp after which it applies.
        calibrator: running search for a new calibration, or None.
        sensors: site -> identity of the sensor, if known (`connected`).
        foreign: why the current calibration does not belong to these sensors, or empty; if not
            empty, no body is produced.
        imu_frame: newest synchronised frame, or None.
        admit: decides for each synchronised frame whether to estimate a body; None: always.
            Accepted frames are counted in `ImuFrame.step`.
    """

    def __init__(
        self,
        calibration: Calibration | Calibrator,
        synchroniser: Synchroniser,
        estimator: Estimator,
        body_id: str = DEFAULT_BODY_ID,
        heading: HeadingDrift | None = None,
        intake: Intake | None = None,
    ) -> None:
        """``calibration`` is the initial calibration or the calibrator that finds it.

        ``heading`` removes heading drift; None: no correction.
        """
        self.intake = intake or Intake()
        self.calibration = calibration if isinstance(calibration, Calibration) else None
        self.calibrator: Calibrator | None = (
            None if isinstance(calibration, Calibration) else calibration
        )
        self.from_stamp = 0
        self.sensors: dict[str, str] = {}
        self.foreign = ""
        # found with the connected sensors, so it is labelled with their identities
        self._found_here = False
        self.imu_frame: ImuFrame | None = None
        self.admit: Callable[[ImuFrame], bool] | None = None
        self._steps = 0
        self._newest = 0  # ns, newest timestamp used with the current calibration
        # consecutive samples with a timestamp far before it and before the calibration
        self._before = 0
        self._synchroniser = synchroniser
        self._estimator = estimator
        self._body_id = body_id
        self._heading = heading
        self._uncalibrated: set[str] = set()  # optional sensors missing from the calibration
        self._document = ""
        # calibration, timestamp and sensors of `_document`
        self._written: tuple[Calibration | None, int, tuple[str, ...]] = None, 0, ()
        if self.calibration is not None:
            self._synchroniser.use(self.calibration.sites)

    def push(self, site: str, sample: ImuSample) -> list[BodyFrame]:
        """Process one raw sample and return the bodies it completes, oldest first.

        Returns none if the sample is rejected (`intake`).
        """
        usable = self.intake.push(site, sample)
        return [] if usable is None else self._take(site, usable)

    def _take(self, site: str, sample: ImuSample) -> list[BodyFrame]:
        """`push` for a checked sample with an orientation."""
        if self.calibrator is not None:
            found = self.calibrator.push(site, sample)
            if found is not None:
                found_here = self.calibrator.mounts
                self.apply_calibration(found, sample.stamp, arrived=True)
                self._found_here = found_here
                self.connected(self.sensors)
        if self.calibration is None or self.foreign or not self._in_force(sample.stamp):
            return []
        if site in EXTRA_SITES and site not in self.calibration.sites:
            self._uncalibrated.add(site)
            return []
        q_world_bone, acceleration = self.calibration.apply(site, sample)
        frames = self._synchroniser.push(site, sample.stamp, q_world_bone, acceleration)
        return self._bodies(
            [self._heading.correct(frame) for frame in frames]
            if self._heading is not None
            else frames
        )

    def _in_force(self, stamp: int) -> bool:
        """Whether the calibration applies to a sample with this timestamp.

        If the clock is set back to before the calibration was found, it applies from there on.
        """
        if not self.from_stamp:  # given from the start: a recording should contain the timestamp
            self.from_stamp = stamp - 1
        if stamp > self.from_stamp:
            self._newest = max(self._newest, stamp)
            self._before = 0
            return True
        if self._newest and stamp < self._newest - _LEAP:
            self._before += 1
        if self._before < _BEFORE_BELIEVED:
            return False
        set_back = self._newest - stamp
        self.from_stamp = stamp - 1
        self._newest = stamp
        self._before = 0
        self._restart()
        self._synchroniser.clock_set_back(stamp, set_back)
        return True

    def push_calibrated(self, frame: ImuFrame) -> list[BodyFrame]:
        """Process a frame that is already calibrated and synchronised.

        A frame with ``step`` 0 resets everything, as it did in the live run.
        """
        if frame.step == 0:
            self._restart()
        return self._bodies([frame])

    def calibrate(self, calibrator: Calibrator | None) -> None:
        """Start seeking a new calibration (None: stop); bodies continue with the current one."""
        self.calibrator = calibrator

    def connected(self, sensors: Mapping[str, str]) -> None:
        """Set the identity of the connected sensor of each site, if known.

        A calibration found here is labelled with them. One made with other sensors produces no
        bodies (`foreign`) until its own sensors are back or it is replaced.
        """
        self.sensors = dict(sensors)
        if self.calibration is None:
            return
        if self._found_here:
            self.calibration.name_sensors(self.sensors)
        was = self.foreign
        self.foreign = ""
        try:
            self.calibration.check_sensors(self.sensors)
        except PallasError as error:
            self.foreign = str(error)
        if was and not self.foreign:
            self._restart()

    def reset_heading(self, site: str = "", stance: str = "") -> dict[str, Turn]:
        """Reset the headings to the wearer's current stance (`heading_turns`); bodies continue.

        Raises:
            PallasError: not calibrated yet, no frame since then, or the stance does not determine
                the heading.
        """
        frame = self.imu_frame
        calibration = self.calibration
        if frame is None or calibration is None:
            raise PallasError("no bodies yet: calibrate first")
        if not self.from_stamp < frame.newest_input <= self._newest:
            raise PallasError(
                "no frame since the last calibration yet, or since the clock was set back: wait for"
                " the next body, then reset again"
            )
        seen = _seen(frame)
        turns = heading_turns(seen, site, stance)
        corrected = dict(zip(SITES, frame.heading_drift.tolist()))
        sites = dict(calibration.sites)
        for name, turn in turns.items():
            offset = wrap(sites[name].heading_offset + corrected.get(name, 0.0) + turn.angle)
            sites[name] = replace(sites[name], heading_offset=offset)
        # those whose heading is unknown turn with the waist
        for name in set(sites) - set(turns) if not site else ():
            offset = wrap(sites[name].heading_offset + turns["pelvis"].angle)
            sites[name] = replace(sites[name], heading_offset=offset)
        found_here = self._found_here
        self.apply_calibration(replace(calibration, sites=sites), frame.newest_input, arrived=True)
        self._found_here = found_here
        return turns

    def apply_calibration(
        self, calibration: Calibration, stamp: int, *, arrived: bool = False
    ) -> None:
        """Use ``calibration`` for samples stamped after ``stamp`` (ns), with a full reset there.

        ``arrived``: a sample with this stamp has arrived, so that much older ones mean that the
        clock was set back.

        If it differs from the current one in headings only, bodies continue and only the headings
        change.

        Raises:
            PallasError: it was made with other sensors; the current one is kept.
        """
        calibration.check_sensors(self.sensors)
        turned = _turned(self.calibration, calibration) if not self.foreign else None
        self.calibration = calibration
        self._synchroniser.use(calibration.sites)
        self.from_stamp = stamp
        self.calibrator = None
        self.foreign = ""
        self._found_here = False
        self._newest = stamp if arrived else 0
        self._before = 0
        if turned is None:
            self._restart()
            return
        self._synchroniser.reset()
        if self._heading is not None:
            self._heading.forget(turned)

    def _restart(self) -> None:
        self._steps = 0
        self._uncalibrated.clear()
        self._synchroniser.reset()
        self._estimator.reset()
        if self._heading is not None:
            self._heading.reset()

    def remarks(self) -> list[str]:
        """Sentences about current problems."""
        foreign = [self.foreign] if self.foreign else []
        seeking = (
            [self.calibrator.problem]
            if self.calibrator is not None and self.calibrator.problem
            else []
        )
        drifted = self._heading.remarks() if self._heading is not None else []
        unused = [
            f"{site}: worn but not calibrated, so it is not used: calibrate again while wearing it"
            for site in sorted(self._uncalibrated)
        ]
        sensors = self.intake.remarks()
        return foreign + sensors + seeking + self._synchroniser.remarks() + drifted + unused

    def calibration_problem(self) -> str:
        """Return why the calibration in progress does not succeed; "" if unknown.

        This is the wearer's mistake, not the most recent observation.
        """
        reasons = self.intake.report(_MOST)
        if not reasons and self.calibrator is not None:
            reasons = self.calibrator.mistakes[:1] or [self.calibrator.problem]
        return "; ".join(reasons)

    def no_body_reason(self) -> str:
        """Return why the samples so far gave no body."""
        if self.calibration is None and self.calibrator is not None:
            return self.calibration_problem() or "no calibration was found"
        reasons = self.intake.report(_MOST) or ([self.foreign] if self.foreign else [])
        return "; ".join(
            reasons or self.intake.report() or ["the sensors never sent samples at the same time"]
        )

    def dropped(self) -> dict[str, int]:
        """Counts of unused samples by site and reason, and of dropped frames."""
        counts = {
            f"{site}: {why}": n
            for site, reasons in self._synchroniser.counts.items()
            for why, n in reasons.items()
        }
        return {
            **self.intake.refusals.counts(),
            **counts,
            "frames skipped": self._synchroniser.skipped,
            "clock set back": self._synchroniser.set_back,
        }

    def document(self) -> str:
        """Return the current calibration as a YAML document, with the timestamp it applies from.

        Raises:
            PallasError: there is no calibration yet.
        """
        found = self.calibration
        if found is None:
            raise PallasError("not calibrated yet")
        # Writing it takes 10 ms, and the node asks four times a second. Of a calibration in use
        # only the sensors' names change (`connected`); any other change replaces it.
        sensors = tuple(of_site.sensor for of_site in found.sites.values())
        written = found, self.from_stamp, sensors
        if self._written[0] is not found or self._written[1:] != written[1:]:
            self._written = written
            self._document = f"{found.to_yaml()}{FROM_STAMP}: {self.from_stamp}\n"
        return self._document

    def _bodies(self, frames: list[ImuFrame]) -> list[BodyFrame]:
        bodies = []
        for frame in frames:
            self.imu_frame = frame
            frame.step = self._steps
            if self.admit is not None and not self.admit(frame):
                continue
            self._steps += 1
            body = self._estimator.step(frame)
            body.body_id = self._body_id
            if remarks := self._synchroniser.remarks():
                body.remarks = (*body.remarks, *remarks)
            bodies.append(body)
        return bodies


def _seen(frame: ImuFrame) -> dict[str, Array]:
    """Return site -> orientation (4,) of the sites with samples."""
    seen = {s: frame.orientation[i] for i, s in enumerate(SITES) if frame.valid[i]}
    if frame.extra is not None:
        extra = frame.extra
        seen |= {s: extra.orientation[i] for i, s in enumerate(extra.sites) if extra.valid[i]}
    return seen


def _turned(before: Calibration | None, after: Calibration) -> list[str] | None:
    """Return the sites whose heading alone differs between two calibrations.

    Returns None if nothing or something else differs.
    """
    if before is None or before.sites.keys() != after.sites.keys():
        return None
    turned = []
    for site, old in before.sites.items():
        new = after.sites[site]
        same = (
            np.allclose(old.q_bone_sensor, new.q_bone_sensor, atol=1e-6)
            and np.allclose(old.gyroscope_bias, new.gyroscope_bias, atol=1e-6)
            and abs(old.acceleration_scale - new.acceleration_scale) < 1e-6
        )
        if not same:
            return None
        if abs(wrap(old.heading_offset - new.heading_offset)) > 1e-8:
            turned.append(site)
    return turned or None


def read_document(text: str) -> tuple[Calibration, int]:
    """Read a published calibration document.

    Returns the calibration and the timestamp (ns) it applies from; 0 if not given.

    Raises:
        PallasError: it is not a calibration.
    """
    calibration = Calibration.from_yaml(text, "the recorded calibration")
    stamp = parse_yaml(text, "the recorded calibration", "calibration").get(FROM_STAMP, 0)
    return calibration, stamp if isinstance(stamp, int) and stamp > 0 else 0
