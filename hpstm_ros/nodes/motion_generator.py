"""Generate motion on request, play it on `/generated/body`, and predict bodies."""

import math
import time
from functools import cached_property
from typing import Any

from pallas.action import GenerateMotion
from pallas.msg import BodyPose, BodyPrediction
from std_srvs.srv import Trigger

from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.generation.flow import Flow, FlowGenerator
from hpstm_ros.generation.job import Job
from hpstm_ros.generation.playback import BLEND_S, Playback
from hpstm_ros.generation.prediction import Predictor
from hpstm_ros.generation.producer import Producer, origin
from hpstm_ros.generation.request import HandTarget, Request, default_model
from hpstm_ros.generation.stream import bodies_of
from hpstm_ros.generation.takeover import LEADS, TakeOver
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    ACTION_GENERATE,
    MODEL_RATE_HZ,
    TOPIC_GENERATED_BODY,
    TOPIC_PREDICTION,
    WORLD_FRAME,
)
from pallas_ros.body.origin import GENERATED
from pallas_ros.body.resources import resource
from pallas_ros.messages.encode import body_to_msg, to_stamp
from pallas_ros.messages.wire import body_from_bytes, body_to_bytes
from pallas_ros.ros.body_intake import BodyIntake, body_intake, rejected_remark
from pallas_ros.ros.node import Health, PallasNode

FEEDBACK_S = 0.1
PREDICTION_HZ = 10.0
_OF_GOALS = {"steps", "guidance", "max_seconds"}


class _Goal:
    """A running goal: its handle, its request, and the future that completes it."""

    def __init__(self, handle: Any, request: Request, model: str, done: Any) -> None:
        self.handle = handle
        self.request = request
        self.model = model
        self.done = done
        self.job: Job | None = None
        self.played = False


class MotionGeneratorNode(PallasNode):
    """Adapter around `Producer`, `Playback`, `TakeOver` and `Predictor`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/motion_generator.yaml`."""
        self._goal: _Goal | None = None
        super().__init__("motion_generator", **kwargs)

    @cached_property
    def _intake(self) -> BodyIntake:
        """Kept for the life of the node."""
        s = self.settings
        return body_intake(self, s["operator_topic"], s["operator_publisher"])

    def configure(self) -> None:
        """Open the network, and create the action, publishers and subscriptions."""
        s = self.settings
        flow = Flow(resource(s["model"]))
        self._producer = Producer(generators={"flow": FlowGenerator(flow)})
        expectation = Expectation(s["prediction_model"]) if s["predict"] else None
        self._predictor = Predictor(expectation)
        self._playback = Playback(body_id=s["body_id"])
        self._takeover = TakeOver()
        self._refused = ""
        if s["play"]:
            self._bodies = self.advertise(BodyPose, TOPIC_GENERATED_BODY)
            self.serve(Trigger, "/motion_generator/take_over", self._take_over)
            self.serve(Trigger, "/motion_generator/hand_back", self._hand_back)
            self.every(1 / MODEL_RATE_HZ, self._show)
        if s["predict"]:
            self._predictions = self.advertise(BodyPrediction, TOPIC_PREDICTION)
            self.every(1 / PREDICTION_HZ, self._predict)
        self.subscribe(BodyPose, s["operator_topic"], self._on_body, raw=True, intake=self._intake)
        self.every(FEEDBACK_S, self._update_goal)
        self.serve_action(GenerateMotion, ACTION_GENERATE, self._execute)

    def reconfigure(self, changed: set[str]) -> None:
        """Parameters that are read with every goal need no rebuild."""
        if not changed <= _OF_GOALS:
            super().reconfigure(changed)

    def deactivate(self) -> None:
        """End the goal, and blend to rest while the publishers still work."""
        self._end_goal("the node was deactivated", "abort")
        if not self.settings["play"] or self._takeover.operator_leads:
            return
        for _ in range(math.ceil(BLEND_S * MODEL_RATE_HZ) + 1):
            if not self._playback.moving:
                return
            self._show()
            time.sleep(1 / MODEL_RATE_HZ)

    def health(self) -> Health:
        """Report the current goal."""
        if not self.active:
            return Health()
        if rejected := rejected_remark(self._intake, self.settings["operator_topic"]):
            return Health(1, rejected)
        if self._goal is not None:
            return Health(0, f"'{self._goal.request.text[:40]}' {self._stage()[0]}")
        if self._takeover.operator_leads:
            return Health(0, LEADS)
        return Health(0, "at rest" if not self._refused else f"at rest; refused: {self._refused}")

    # Bodies

    def _on_body(self, data: bytes) -> None:
        frame = body_from_bytes(data)
        if GENERATED in frame.remarks or LEADS in frame.remarks:
            return
        frame = self._intake.renamed(frame)
        self._predictor.push(frame, self.now())
        if self.settings["play"]:
            self._publish(self._takeover.operator(frame))

    def _show(self) -> None:
        self._publish(self._takeover.generated(self._playback.tick(self.now())))

    def _publish(self, body: BodyFrame | None) -> None:
        if body is not None:
            self._bodies.publish(body_to_bytes(body))

    def _take_over(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Handle the service: show the operator's live body from now on."""
        if not self.active:
            raise PallasError("the node is not active: activate it first")
        self._takeover.take_over(self.now())
        self._end_goal("the operator took over", "abort")
        response.success = True
        response.message = LEADS
        return response

    def _hand_back(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Handle the service: show generated motion again, at rest at the operator's position until
        a goal.
        """
        shown = self._takeover.shown
        if self._takeover.operator_leads and shown is not None:
            self._playback.stand(shown)
            self._show()
        self._takeover.hand_back()
        response.success = True
        response.message = "generated motion leads"
        return response

    def _predict(self) -> None:
        bodies = self._predictor.predict(self.now())
        if not bodies:
            return
        message = BodyPrediction(body_id=bodies[0].body_id)
        message.header.frame_id = WORLD_FRAME
        message.header.stamp = to_stamp(self._predictor.newest)
        message.bodies = [body_to_msg(body) for body in bodies]
        self._predictions.publish(message)

    # The action

    async def _execute(self, handle: Any) -> GenerateMotion.Result:
        """Execute a goal; an earlier one is preempted, unless this one is refused."""
        goal = handle.request
        try:
            request = self._request(goal)
            model = goal.model or default_model(request)
            request = self._producer.checked(request, model)
            self._check(request, goal.play)
        except PallasError as error:
            self._refused = str(error)
            self.get_logger().warning(f"goal refused: {error}")
            handle.abort()
            return GenerateMotion.Result(message=str(error), alignment=math.nan)
        self._end_goal("preempted by a newer goal", "abort")
        own = _Goal(handle, request, model, self.future())
        own.job = Job(self._producer, request, model)
        self._goal = own
        result = await own.done
        assert isinstance(result, GenerateMotion.Result)
        return result

    def _check(self, request: Request, play: bool) -> None:
        most = self.settings["max_seconds"]
        if request.seconds > most:
            raise PallasError(
                f"the duration is {request.seconds:g} s, but max_seconds is {most:g} s: request"
                " less, or set the parameter"
            )
        if play and not self.settings["play"]:
            raise PallasError(
                "motion_generator does not play motion, because its parameter play is false: start"
                " it with play true, or send the goal with play false"
            )
        if play and self._takeover.operator_leads:
            raise PallasError("the operator leads: hand back first")

    def _request(self, goal: GenerateMotion.Goal) -> Request:
        if not len(goal.hand_sides) == len(goal.hand_points) == len(goal.hand_times):
            raise PallasError(
                "hand_sides, hand_points and hand_times must have one entry for each target"
            )
        hands = tuple(
            HandTarget(side, (point.x, point.y, point.z), when)
            for side, point, when in zip(goal.hand_sides, goal.hand_points, goal.hand_times)
        )
        start = self._playback.at_rest()
        if goal.start == GenerateMotion.Goal.START_CURRENT:
            past = self._predictor.past_at(self.now())
            if past is None:
                raise PallasError(
                    f"no body came on {self.settings['operator_topic']} in the last second: start"
                    " from START_NEUTRAL"
                )
            start = past
        return Request(
            text=goal.text,
            seconds=min(goal.duration, 1e9) if goal.duration == goal.duration else math.nan,
            seed=goal.seed,
            candidates=goal.candidates or 1,
            guidance=goal.guidance or self.settings["guidance"],
            steps=self.settings["steps"],
            start=start,
            hands=hands,
        )

    def _stage(self) -> tuple[str, float]:
        goal = self._goal
        if goal is None or goal.job is None:
            return "idle", 1.0
        if goal.played:
            return "playing", self._playback.fraction(self.now())
        return goal.job.stage, goal.job.fraction

    def _update_goal(self) -> None:
        """Send feedback, and advance the goal when it is generated, played or cancelled."""
        goal = self._goal
        if goal is None or goal.job is None:
            return
        if goal.handle.is_cancel_requested:
            self._end_goal("cancelled", "canceled")
            return
        stage, fraction = self._stage()
        goal.handle.publish_feedback(GenerateMotion.Feedback(stage=stage, fraction=fraction))
        if not goal.job.done:
            return
        outcome = goal.job.outcome
        if outcome is None:
            self._end_goal(goal.job.error or "the generator returned no motion", "abort")
        elif goal.handle.request.play and self._takeover.operator_leads:
            self._end_goal("the operator took over", "abort")
        elif goal.handle.request.play and not goal.played:
            goal.played = True
            lines = origin(outcome, goal.request, goal.model).lines()
            self._playback.play(outcome.candidates[0].motion, self.now(), lines)
        elif not (goal.played and self._playback.moving):
            # converting the result takes up to half a second: not in the middle of a blend
            self._end_goal("", "succeed")

    def _end_goal(self, message: str, how: str) -> None:
        """End the running goal, if any; ``how`` is the transition of its handle."""
        goal = self._goal
        self._goal = None
        if goal is None or goal.job is None:
            return
        goal.job.cancel()
        if how != "succeed":
            self._playback.stop(self.now())
        result = GenerateMotion.Result(message=message, alignment=math.nan)
        outcome = goal.job.outcome
        if how == "succeed" and outcome is not None:
            best = outcome.candidates[0]
            result.success = True
            result.motion = [body_to_msg(b) for b in bodies_of(best.motion, self._body_id())]
            result.alignment = best.score
            result.warning = "; ".join(outcome.warnings)
        getattr(goal.handle, how)()
        goal.done.set_result(result)

    def _body_id(self) -> str:
        return str(self.settings["body_id"])
