"""Samples in, bodies out: what the `pallas` node and `pallas process` both run, so that both give
the same body.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import DEFAULT_BODY_ID, EXTRA_SITES, JOINTS, MODEL_RATE_HZ, SITES
from pallas_ros.body.resources import resource
from pallas_ros.body.sites import worn_sites
from pallas_ros.body.skeleton import DEFAULT_HEIGHT_M, Skeleton
from pallas_ros.files.yaml_text import parse_yaml
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.heading_reset import Turn, heading_turns
from pallas_ros.imu.hinge import wrap
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.procedures import Calibrator, calibrator
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.estimator import BodyEstimator

_MOST = 0.3
"""Share of a site's samples whose refusal is the reason why no body comes."""

FROM_STAMP = "from_stamp"
"""Key of the published calibration document: the stamp (ns) after which samples are calibrated with
it.
"""

_LEAP = (
    1_000_000_000  # ns: a stamp so far back is that of a clock that was set, not of a late sample
)
_BEFORE_BELIEVED = 20  # of them in a row


class Estimator(Protocol):
    """Finds a body from a frame of the four sensors (`BodyEstimator`)."""

    def step(self, frame: ImuFrame) -> BodyFrame:
        """The body of the next frame."""
        ...

    def reset(self) -> None:
        """Start over."""
        ...


class Pipeline:
    """Calibrates, synchronises and estimates. A deterministic function of the samples: nothing here
    reads a clock.

    A calibration is in force for the samples stamped after the one it was found with. It can be
    sought again while bodies go on with the one before (`calibrate`).

    Attributes:
        intake: what every sample passes first: checks, estimated orientations, counts of what is
            refused.
        calibration: the one in force, or None until there is one.
        from_stamp: ns, the stamp after which it holds.
        calibrator: what seeks a new one, or None.
        sensors: site -> identity of the sensor whose samples come, as far as known (`connected`).
        foreign: why the calibration in force does not belong to these sensors, in words, or empty;
            then no body is made.
        imu_frame: the newest synchronised frame, or None.
        admit: asked with each synchronised frame whether a body is to be made of it, or None: of
            each. Those it takes are counted in `ImuFrame.step`.
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
        """``calibration``: what to begin with, or what shall find it; ``heading``: what takes out
        heading drift, or nothing.
        """
        self.intake = intake or Intake()
        self.calibration = calibration if isinstance(calibration, Calibration) else None
        self.calibrator: Calibrator | None = (
            None if isinstance(calibration, Calibration) else calibration
        )
        self.from_stamp = 0
        self.sensors: dict[str, str] = {}
        self.foreign = ""
        self._found_here = False  # with these sensors, so that it is to be named after them
        self.imu_frame: ImuFrame | None = None
        self.admit: Callable[[ImuFrame], bool] | None = None
        self._steps = 0
        self._newest = 0  # ns, stamp of the newest sample the calibration in force was used for
        self._before = 0  # samples in a row stamped a leap before that, and before the calibration
        self._synchroniser = synchroniser
        self._estimator = estimator
        self._body_id = body_id
        self._heading = heading
        self._uncalibrated: set[str] = set()  # optional sensors that the calibration lacks

    def push(self, site: str, sample: ImuSample) -> list[BodyFrame]:
        """Take one raw sample and return the bodies it completes, oldest first; none where it is
        refused (`intake`).
        """
        usable = self.intake.push(site, sample)
        return [] if usable is None else self._take(site, usable)

    def _take(self, site: str, sample: ImuSample) -> list[BodyFrame]:
        """`push` of a sample that was checked and has an orientation."""
        if self.calibrator is not None:
            found = self.calibrator.push(site, sample)
            if found is not None:
                found_here = self.calibrator.mounts
                self.put_in_force(found, sample.stamp)
                self._newest = sample.stamp
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
        """Whether the calibration holds for a sample stamped so.

        Where the clock of the stamps is set back to before the calibration was found, it holds from
        there on.
        """
        if not self.from_stamp:  # given from the start: so that a recording says from where
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
        """Take a frame that is calibrated and on the grid already; where its ``step`` is 0
        everything restarts, as it did when it was made.
        """
        if frame.step == 0:
            self._restart()
        return self._bodies([frame])

    def calibrate(self, calibrator: Calibrator | None) -> None:
        """Seek a new calibration (None: seek no more); bodies go on with the one in force."""
        self.calibrator = calibrator

    def connected(self, sensors: Mapping[str, str]) -> None:
        """Whose samples come: site -> identity, as far as known.

        A calibration found here is named after them; one made with others gives no bodies
        (`foreign`) until its own sensors are back or another is in force.
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
        """Set headings right as the wearer stands now (`heading_turns`); bodies go on.

        Raises:
            PallasError: nothing is calibrated yet, or the stance does not show the heading.
        """
        frame = self.imu_frame
        calibration = self.calibration
        if frame is None or calibration is None:
            raise PallasError("no bodies yet: calibrate first")
        seen = {s: frame.orientation[i] for i, s in enumerate(SITES) if frame.valid[i]}
        turns = heading_turns(seen, site, stance)
        corrected = dict(zip(SITES, frame.heading_drift.tolist()))
        sites = dict(calibration.sites)
        for name, turn in turns.items():
            offset = wrap(sites[name].heading_offset + corrected[name] + turn.angle)
            sites[name] = replace(sites[name], heading_offset=offset)
        for name in set(sites) - set(SITES) if not site else ():  # they turn with the waist
            offset = wrap(sites[name].heading_offset + turns["pelvis"].angle)
            sites[name] = replace(sites[name], heading_offset=offset)
        found_here = self._found_here
        self.put_in_force(replace(calibration, sites=sites), frame.newest_input)
        self._newest = frame.newest_input
        self._found_here = found_here
        return turns

    def put_in_force(self, calibration: Calibration, stamp: int) -> None:
        """Use ``calibration`` for the samples stamped after ``stamp`` (ns); everything restarts
        from there.

        Where it differs from the one before in headings only, the body goes on and only the
        headings change.

        Raises:
            PallasError: it was made with other sensors than those connected; what was in force
                stays.
        """
        calibration.check_sensors(self.sensors)
        turned = _turned(self.calibration, calibration) if not self.foreign else None
        self.calibration = calibration
        self.from_stamp = stamp
        self.calibrator = None
        self.foreign = ""
        self._found_here = False
        self._newest = self._before = 0
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
        """What is not as it should be, in words."""
        foreign = [self.foreign] if self.foreign else []
        seeking = (
            [self.calibrator.problem]
            if self.calibrator is not None and self.calibrator.problem
            else []
        )
        drifted = self._heading.remarks() if self._heading is not None else []
        unused = [
            f"{site}: worn, but not in the calibration, so it is not used: calibrate again with"
            " it on"
            for site in sorted(self._uncalibrated)
        ]
        sensors = self.intake.remarks()
        return foreign + sensors + seeking + self._synchroniser.remarks() + drifted + unused

    def what_hinders(self) -> str:
        """Why the calibration that is sought is not found: the mistake, not what happened to be
        seen last; "" where nothing is known.
        """
        reasons = self.intake.report(_MOST)
        if not reasons and self.calibrator is not None:
            reasons = self.calibrator.mistakes[:1] or [self.calibrator.problem]
        return "; ".join(reasons)

    def why_nothing(self) -> str:
        """Why no body came of the samples so far."""
        if self.calibration is None and self.calibrator is not None:
            return self.what_hinders() or "no calibration was found"
        reasons = self.intake.report(_MOST) or ([self.foreign] if self.foreign else [])
        return "; ".join(
            reasons or self.intake.report() or ["the sensors were never heard together"]
        )

    def dropped(self) -> dict[str, int]:
        """Samples not used, by site and reason; frames left out."""
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
        """The calibration in force as its YAML document, with the stamp it holds from."""
        if self.calibration is None:
            raise PallasError("not calibrated yet")
        return f"{self.calibration.to_yaml()}{FROM_STAMP}: {self.from_stamp}\n"

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


def _turned(before: Calibration | None, after: Calibration) -> list[str] | None:
    """Sites whose heading alone differs between two calibrations; None where more differs, or
    nothing.
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
    """A published calibration document: the calibration and the stamp (ns) it holds from; 0 where
    it does not say.

    Raises:
        PallasError: it is not a calibration.
    """
    calibration = Calibration.from_yaml(text, "the recorded calibration")
    stamp = parse_yaml(text, "the recorded calibration", "calibration").get(FROM_STAMP, 0)
    return calibration, stamp if isinstance(stamp, int) and stamp > 0 else 0


@dataclass(frozen=True)
class PipelineSettings:
    """What the `pallas` node's parameters and the options of `pallas process` have in common; see
    `config/parameters/pallas_node.yaml`.
    """

    model: str = "models/pallas.onnx"
    backend: str = "auto"
    threads: int = 1
    calibration: str = ""
    still_s: float = 1.5
    height_m: float = DEFAULT_HEIGHT_M
    segments: Sequence[str] = ()
    max_wait_s: float = 0.025
    hold_s: float = 0.1
    heading_drift: float = 1.0
    orientation: str = "auto"
    body_id: str = DEFAULT_BODY_ID
    extra_sites: Sequence[str] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites worn: the four and the optional ones.

        Raises:
            PallasError: an optional site is unknown or named twice.
        """
        return worn_sites((*SITES, *self.extra_sites))

    def pipeline(self, log: Callable[[str], None] | None = None) -> Pipeline:
        """Load the model and the calibration.

        Raises:
            PallasError: one of them is missing or does not fit.
        """
        sites = self.sites
        calibration = (
            Calibration.load(Path(self.calibration).expanduser())
            if self.calibration
            else calibrator("tpose", self.still_s, sites=sites)
        )
        stream = open_stream(
            resource(self.model),
            backend=self.backend,
            threads=self.threads,
            expect={"kind": "pallas", "rate_hz": MODEL_RATE_HZ, "joints": JOINTS, "sites": SITES},
            log=log,
        )
        if self.extra_sites and "extra" not in stream.inputs:
            raise PallasError(
                f"{self.model}: this model knows the four sensors {', '.join(SITES)} only: use one"
                " made for optional sensors, or leave extra_sites empty"
            )
        stream.warm_up()
        skeleton = Skeleton.from_height(self.height_m, segment_lengths(self.segments))
        synchroniser = Synchroniser(max_wait_s=self.max_wait_s, hold_s=self.hold_s, sites=sites)
        heading = HeadingDrift(DriftModel.of(self.heading_drift)) if self.heading_drift else None
        intake = Intake(self.orientation, sites)
        if isinstance(calibration, Calibration):
            intake.biases({site: found.gyroscope_bias for site, found in calibration.sites.items()})
        estimator = BodyEstimator(stream, skeleton)
        return Pipeline(calibration, synchroniser, estimator, self.body_id, heading, intake)


def segment_lengths(pairs: Sequence[str]) -> dict[str, float]:
    """Segment lengths in m from words like ``upper_arm=0.31``.

    Raises:
        PallasError: a word is not of that form.
    """
    lengths = {}
    for pair in pairs:
        name, _, metres = pair.partition("=")
        try:
            lengths[name.strip()] = float(metres)
        except ValueError:
            raise PallasError(
                f"segment '{pair}': give it as name=metres, like upper_arm=0.31"
            ) from None
    return lengths


Settings = PipelineSettings  # deprecated name, kept for one release
