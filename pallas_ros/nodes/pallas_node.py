"""Estimate the body: `/imu/<site>` in, `/pallas/body` at 60 Hz out.

Calibration is from a T-pose, or by the action or service `~/calibrate`.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from pallas.action import Calibrate as CalibrateAction
from pallas.msg import BodyPose
from pallas.msg import ImuFrame as ImuFrameMsg
from pallas.srv import Calibrate, ResetHeading
from rclpy.task import Future
from sensor_msgs.msg import Imu
from std_msgs.msg import String

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import (
    MODEL_RATE_HZ,
    TOPIC_CALIBRATION,
    TOPIC_IMU,
    TOPIC_IMU_FRAME,
    TOPIC_PALLAS_BODY,
    TOPIC_SENSORS,
)
from pallas_ros.body.resources import expanded
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.calibration_folder import CalibrationFolder
from pallas_ros.imu.heading_reset import describe_turns
from pallas_ros.imu.procedures import calibrator
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.decode import sensors_from_msg
from pallas_ros.messages.encode import imu_frame_to_msg
from pallas_ros.messages.wire import body_to_bytes, deserialized, imu_from_bytes
from pallas_ros.pipeline import Pipeline, PipelineSettings
from pallas_ros.ros.body_intake import rejected_remark, sensor_intake
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED, REPLAYED, SENSOR
from pallas_ros.runtime.realtime import Deadline

STATUS_S = 0.25
_SENSORS_HZ = 100.0
"""Messages about sensor identities of one publisher above this rate are discarded unread."""
LATE_FRAMES = 3
"""Beyond `max_wait_s`, frames older than the newest sample by this much are dropped: they are too
late to move an arm.
"""


class _CancelledError(PallasError):
    """A client cancelled the calibration."""


class PallasBodyNode(PallasNode):
    """Adapter around `pallas_ros.pipeline.Pipeline`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/pallas_node.yaml`."""
        self._built: Pipeline | None = None
        self._sought: Future | None = None
        self._goal: Any = None  # goal of the action in execution
        # ns: time of the calibration request, and its timeout
        self._requested_at = self._patience = 0
        self._published = ""
        self._unsaved = ""
        super().__init__("pallas_node", **kwargs)

    @property
    def _pipeline(self) -> Pipeline:
        """The pipeline built by `configure`."""
        return self.built(self._built)

    def configure(self) -> None:
        """Load the model and the calibration, and subscribe."""
        s = self.settings
        settings = PipelineSettings(
            **{name: s[name] for name in PipelineSettings.__dataclass_fields__}
        )
        self._built = settings.pipeline()
        self._imu_topics = {site: TOPIC_IMU.format(site=site) for site in settings.sites}
        self._frames: list[ImuFrame] = []
        self._pipeline.admit = self._admit
        period = 1e9 / MODEL_RATE_HZ
        self._replayed = bool(self.get_parameter("use_sim_time").value)
        self._watch = Deadline(round(period), round(LATE_FRAMES * period + 1e9 * s["max_wait_s"]))
        self._news = 0
        self._bodies = self.advertise(BodyPose, TOPIC_PALLAS_BODY)
        self._imu_frames = self.advertise(ImuFrameMsg, TOPIC_IMU_FRAME)
        self._calibrations = self.advertise(String, TOPIC_CALIBRATION, LATCHED)
        self._published = ""
        self._unsaved = ""
        self._flooded: dict[str, int] = {}
        self._intakes = {} if self._replayed else self._limits()
        for site, topic in self._imu_topics.items():
            self.subscribe(
                Imu,
                topic,
                partial(self._on_imu, site),
                REPLAYED if self._replayed else SENSOR,
                raw=True,
                intake=self._intakes.get(topic),
            )
        sensors = Intake(RateLimit(_SENSORS_HZ))
        self.subscribe(
            DiagnosticArray, TOPIC_SENSORS, self._on_sensors, LATCHED, raw=True, intake=sensors
        )
        self.serve(Calibrate, "~/calibrate", self._calibrate)
        self.serve_action(
            CalibrateAction, "~/calibrate", self._calibrate_with_feedback, self._cancel
        )
        self.serve(ResetHeading, "~/reset_heading", self._reset_heading)
        self.every(STATUS_S, self._log_status)

    def _limits(self) -> dict[str, Intake]:
        """One publisher at a time for each sensor, limited in rate; a replay is not limited."""
        rate = self.settings["imu_rate_limit_hz"]
        return {topic: sensor_intake(rate) for topic in self._imu_topics.values()}

    def deactivate(self) -> None:
        """Abort a running calibration, since no more samples arrive."""
        if self._seeking:
            self._stop_seeking(PallasError("the node was deactivated"))

    def health(self) -> Health:
        """Remarks of the pipeline and counts of dropped samples."""
        if self._built is None:
            return Health()
        intakes = self._intakes.items()
        flooded = {f"{topic}: over the rate limit": i.flooded for topic, i in intakes}
        others = {f"{topic}: of other publishers": i.unexpected for topic, i in intakes}
        rejected = [rejected_remark(i, topic, "samples") for topic, i in intakes]
        topics = map(self.resolve_topic_name, self._imu_topics.values())
        mismatched = [self.unmatched[topic] for topic in topics if topic in self.unmatched]
        remarks = [*mismatched[:1], *filter(None, rejected), *self._pipeline.remarks()]
        summary = "calibrated" if self._pipeline.calibration is not None else "not calibrated"
        watch = {
            "steps over the deadline": self._watch.overruns,
            "frames too late": self._watch.skipped,
        }
        level = 1 if remarks else 0
        if self._pipeline.foreign:
            level = 2
        return Health(
            level,
            "; ".join(remarks) or summary,
            self._pipeline.dropped() | watch | flooded | others,
        )

    def _on_sensors(self, data: bytes) -> None:
        self._pipeline.connected(sensors_from_msg(deserialized(data, DiagnosticArray)))
        if self._pipeline.foreign:
            self.say(self._pipeline.foreign)

    def _on_imu(self, site: str, data: bytes) -> None:
        samples = self._read(site, data)
        for other, topic in self._imu_topics.items():
            # in order of timestamp, in case several have arrived
            for later in self.pending(topic):
                samples += self._read(other, later)
        if not samples:
            return
        if len(samples) > 1:
            samples.sort(key=lambda entry: entry[1].stamp)
        self._news = samples[-1][1].stamp
        for at, sample in samples:
            started = time.monotonic_ns()
            bodies = self._pipeline.push(at, sample)
            for body in bodies:
                self._bodies.publish(body_to_bytes(body))
                self._watch.done((time.monotonic_ns() - started) // len(bodies))
        if self._frames:  # after publishing the body, to keep its latency low
            if self._imu_frames.get_subscription_count():
                for frame in self._frames:
                    self._imu_frames.publish(imu_frame_to_msg(frame))
            self._frames.clear()

    def _read(self, site: str, data: bytes) -> list[tuple[str, ImuSample]]:
        """Return the site and sample of a message; nothing if it cannot be read or has no
        acceleration, which is counted like any other error.
        """
        try:
            return [(site, imu_from_bytes(data))]
        except PallasError:
            self._pipeline.intake.unreadable(site)
            return []

    def _admit(self, frame: ImuFrame) -> bool:
        """Whether to process a frame; one that is too late is dropped, so that latency cannot grow.

        The delay may come from earlier steps or from other processes. A replay has no deadline, so
        that the same bag gives the same bodies on a slow machine.
        """
        if not self._replayed and not self._watch.admit(self._news - frame.stamp):
            return False
        self._frames.append(frame)
        return True

    def _log_status(self) -> None:
        """Log what was found, what is awaited, and what timed out."""
        self._log_floods()
        found = self._pipeline.calibration
        if (
            found is not None
            and not self._pipeline.foreign
            and self._pipeline.from_stamp
            and (document := self._pipeline.document()) != self._published
        ):
            self._publish_calibration(found, document)
        wrong = self._pipeline.intake.remarks()
        if wrong:
            self.say("; ".join(wrong), key="sensors")
        if self._pipeline.calibrator is not None and not wrong:
            self.say(self._pipeline.calibrator.problem, key="calibration")
        if self._seeking:
            problem = self._pipeline.calibration_problem() or "no sample arrived"
            self._report_progress(problem)
            if self._out_of_patience():
                self._stop_seeking(PallasError(f"no calibration in time: {problem}"))

    def _log_floods(self) -> None:
        """Report sensors that send too much."""
        for topic, intake in self._intakes.items():
            if intake.flooded > self._flooded.get(topic, 0):
                self._flooded[topic] = intake.flooded
                rate = self.settings["imu_rate_limit_hz"]
                self.say(
                    f"{topic}: a publisher sends more than {rate:g} messages per second; the"
                    f" excess is rejected ({intake.flooded} so far)",
                    key=f"flood {topic}",
                )

    def _out_of_patience(self) -> bool:
        waited = self.now() - self._requested_at
        if waited < 0:  # the clock was set back
            self._requested_at = self.now()
        return waited > self._patience

    def _publish_calibration(self, found: Calibration, document: str) -> None:
        self._published = document
        self._calibrations.publish(String(data=document))
        if path := self.settings["save_calibration"]:
            self._save(found, expanded(path))
        for warning in found.warnings:
            self.get_logger().warning(f"calibration: {warning}")
        self.get_logger().info(f"calibrated ({found.procedure})")
        if self._sought is not None and not self._sought.done():
            self._sought.set_result(found)

    def _save(self, found: Calibration, path: Path) -> None:
        """Save a calibration; it stays in use if that fails."""
        self._unsaved = ""
        try:
            found.save(path)
        except (PallasError, OSError) as error:
            self._unsaved = f"the calibration is in use, but cannot be saved: {error}"
            self.get_logger().error(self._unsaved)

    async def _calibrate(self, request: Any, response: Any) -> Any:
        """Handle the service: like the action, without feedback."""
        return self._into(response, await self._seek(request))

    async def _calibrate_with_feedback(self, goal: Any) -> Any:
        """Handle the action."""
        self._require_idle()
        self._goal = goal
        try:
            found = await self._seek(goal.request)
        except _CancelledError as error:
            goal.canceled()
            return CalibrateAction.Result(success=False, message=str(error))
        finally:
            self._goal = None
        goal.succeed()
        return self._into(CalibrateAction.Result(), found)

    def _cancel(self, goal: Any) -> None:
        """Cancel the search; the current calibration, if any, is kept."""
        if self._goal is not None and goal.goal_id == self._goal.goal_id and self._seeking:
            self._stop_seeking(_CancelledError("the calibration was cancelled"))

    @property
    def _seeking(self) -> bool:
        return self._sought is not None and not self._sought.done()

    def _require_idle(self) -> None:
        if self._seeking:
            raise PallasError("a calibration is already running: wait for its result")
        if not self.active:
            raise PallasError("the node is not active: activate it first")

    def _stop_seeking(self, error: PallasError) -> None:
        known = self._pipeline.calibration is not None
        self._pipeline.calibrate(None if known else self._pipeline.calibrator)
        if self._sought is not None:
            self._sought.set_result(error)

    def _report_progress(self, problem: str) -> None:
        if self._goal is None:
            return
        self._goal.publish_feedback(
            CalibrateAction.Feedback(
                message=problem,
                elapsed=(self.now() - self._requested_at) * 1e-9,
                timeout=self._patience * 1e-9,
            )
        )

    async def _seek(self, request: Any) -> Calibration:
        """Run the requested calibration procedure until it succeeds.

        Raises:
            PallasError: it cannot start, timed out, or was cancelled.
        """
        self._require_idle()
        folder = CalibrationFolder(
            self.settings["calibration_folder"], self.settings["overwrite_calibrations"]
        )
        if request.file and request.procedure != "load":
            folder.check_free(request.file)
        if request.procedure == "load":
            newest = self._newest()
            self._pipeline.apply_calibration(folder.load(request.file), newest, arrived=True)
        elif request.procedure == "rest" and self._pipeline.foreign:
            # the mounting is kept from the current calibration, which belongs to other sensors
            raise PallasError(self._pipeline.foreign)
        else:
            self._pipeline.calibrate(
                calibrator(
                    request.procedure,
                    self.settings["still_s"],
                    _joints(request),
                    self._pipeline.calibration,
                    sites=tuple(self._imu_topics),
                )
            )
        self._requested_at = self.now()
        self._patience = round(1e9 * (request.timeout or self.settings["calibration_timeout_s"]))
        self._sought = self.future()
        result: Calibration | PallasError = await self._sought
        if isinstance(result, PallasError):
            raise result
        if request.file and request.procedure != "load":
            folder.save(result, request.file)
        return result

    def _into(self, answer: Any, found: Calibration) -> Any:
        """Fill in the service's response or the action's result."""
        answer.success = True
        answer.message = f"calibrated ({found.procedure})"
        answer.warnings = [*found.warnings, *filter(None, [self._unsaved])]
        answer.sites = list(found.sites)
        answer.residual = [site.residual for site in found.sites.values()]
        answer.calibration = self._published
        return answer

    def _reset_heading(self, request: Any, response: Any) -> Any:
        """Handle the service: reset the headings to the wearer's current stance."""
        if not self.active:
            raise PallasError("the node is not active: activate it first")
        turns = self._pipeline.reset_heading(request.site, request.stance)
        response.success = True
        response.message = describe_turns(turns)
        response.sites = list(turns)
        response.turned = [turn.angle for turn in turns.values()]
        return response

    def _newest(self) -> int:
        """Timestamp of the newest frame; a calibration loaded now applies to later samples."""
        frame = self._pipeline.imu_frame
        return frame.newest_input if frame is not None else 0


def _joints(request: Any) -> dict[str, tuple[float, float, float, float]]:
    """Joint orientations of a ``known_pose`` request: name to (4,) xyzw."""
    if len(request.joint_names) != len(request.joint_orientations):
        raise PallasError(
            f"{len(request.joint_names)} joint_names but {len(request.joint_orientations)}"
            " joint_orientations"
        )
    return {
        name: (q.x, q.y, q.z, q.w)
        for name, q in zip(request.joint_names, request.joint_orientations, strict=True)
    }
