"""`motion_generator` over real DDS, called by rclpy's own `ActionClient`."""

from dataclasses import replace
from threading import Thread
from time import monotonic
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.action", reason="needs the generated messages (make setup)")

import rclpy
from pallas.action import GenerateMotion
from pallas.msg import BodyPose
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from hpstm_ros.generation.playback import Playback
from hpstm_ros.generation.takeover import LEADS
from hpstm_ros.nodes.motion_generator import MotionGeneratorNode
from pallas_ros import cli
from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.messages.decode import body_from_msg
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.ros.matching import knows_publishers
from pallas_ros.ros.run import make_executor

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
LIMIT_S = 60.0


class Peer:
    """The node, a client of its action, and a subscriber to its bodies."""

    def __init__(self) -> None:
        self.node = MotionGeneratorNode()
        self.client_node = rclpy.create_node("asker")
        self.executor = make_executor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.client_node)
        self.shown: list[BodyFrame] = []
        self.stages: set[str] = set()
        self.client_node.create_subscription(
            BodyPose, "/generated/body", lambda m: self.shown.append(body_from_msg(m)), 200
        )
        self.client = ActionClient(self.client_node, GenerateMotion, "/generate_motion")
        self.node.bring("configure")
        self.node.bring("activate")
        self.until(self.client.server_is_ready)

    def until(self, condition: Any) -> None:
        """Spin until a condition holds."""
        end = monotonic() + LIMIT_S
        while not condition():
            assert monotonic() < end, "it took too long"
            self.executor.spin_once(timeout_sec=0.05)

    def ask(self, **goal: Any) -> Any:
        """Send a goal; return its handle."""
        sent = self.client.send_goal_async(
            GenerateMotion.Goal(**goal),
            feedback_callback=lambda m: self.stages.add(m.feedback.stage),
        )
        self.until(sent.done)
        return sent.result()

    def result(self, handle: Any) -> Any:
        """Return the result of a goal."""
        future = handle.get_result_async()
        self.until(future.done)
        return future.result().result

    def call(self, service: str) -> Any:
        """Call a service; return the response."""
        client = self.client_node.create_client(Trigger, f"/motion_generator/{service}")
        self.until(client.service_is_ready)
        answer = client.call_async(Trigger.Request())
        self.until(answer.done)
        return answer.result()

    def operator_takes_over_and_hands_back(self) -> None:
        """The operator takes over while a motion plays, and hands back."""
        assert "operator is arriving" in self.call("take_over").message
        bodies = self.client_node.create_publisher(BodyPose, "/hpstm/body", 10)
        standing = Playback()

        def move() -> None:
            now = self.client_node.get_clock().now().nanoseconds
            bodies.publish(body_to_msg(replace(standing.tick(now), remarks=())))

        timer = self.client_node.create_timer(1 / 60, move)
        played = self.ask(text="walk forward", duration=20.0, play=True)
        self.until(lambda: self.node._playback.playing)
        self.until(lambda: self.call("take_over").success)
        assert self.result(played).message == "the operator took over"
        self.until(lambda: self.shown[-1].remarks == (LEADS,))  # the blend is over
        assert (
            "the operator leads"
            in self.result(self.ask(text="walk", duration=1.0, play=True)).message
        )
        another = None
        if knows_publishers():  # another publisher may show another person
            self.client_node.destroy_publisher(bodies)
            elsewhere = Context()  # a publisher of this participant would be the same node, rebuilt
            elsewhere.init()
            another = rclpy.create_node("another", context=elsewhere)
            bodies = another.create_publisher(BodyPose, "/hpstm/body", 10)
            self.until(lambda: self.node._intake.own_id("operator") == "operator_publisher2")
            count = len(self.shown)
            end = monotonic() + 0.3
            self.until(lambda: monotonic() > end)
            assert len(self.shown) == count
        assert self.call("hand_back").success
        self.until(lambda: self.shown[-1].remarks == ("generated", "at rest"))
        self.client_node.destroy_timer(timer)
        if another is not None:
            another.destroy_node()
            another.context.try_shutdown()

    def close(self) -> None:
        """Destroy all nodes."""
        self.node.stop()
        self.client.destroy()
        self.executor.shutdown()
        self.node.destroy_node()
        self.client_node.destroy_node()


@pytest.fixture
def peer(ros_domain):
    """See `Peer`."""
    rclpy.init(domain_id=ros_domain)
    made = Peer()
    try:
        yield made
    finally:
        made.close()
        rclpy.try_shutdown()


def largest_speed(shown: list[BodyFrame]) -> float:
    """Largest joint speed in m/s between two bodies; a busy machine drops some."""
    p = np.stack([frame.positions for frame in shown])
    spent = np.maximum(np.diff([frame.stamp for frame in shown]) / 1e9, 1 / 60)
    return float((np.linalg.norm(np.diff(p, axis=0), axis=-1).max(-1) / spent).max())


def test_requests_are_played_cancelled_preempted_and_refused_and_an_operator_takes_over(peer):
    played = peer.result(peer.ask(text="wave with the right hand", duration=1.0, seed=3, play=True))
    assert played.success, played.message
    assert not peer.node._playback.moving  # the result is sent at rest, for which there is time
    assert len(played.motion) >= 59
    assert "generated" in played.motion[0].remarks
    assert "playing" in peer.stages
    cancelled = peer.ask(text="walk forward", duration=20.0, play=True)
    peer.until(lambda: peer.node._playback.playing)
    cancelled.cancel_goal_async()
    result = peer.result(cancelled)
    assert not result.success
    assert result.message == "cancelled"
    peer.until(lambda: "at rest" in peer.shown[-1].remarks)
    first = peer.ask(text="walk forward", duration=20.0, play=True)
    peer.until(lambda: peer.node._playback.playing)
    for refused, said in (
        ({"text": "a person punches", "duration": 2.0}, "violence"),
        ({"text": "walk", "duration": 2.0, "model": "nothing"}, "unknown generator"),
        ({"text": "walk", "duration": 12.0, "model": "latent"}, "'latent' is 12 s"),
    ):
        assert said in peer.result(peer.ask(**refused)).message
        assert peer.node._playback.playing
    second = peer.ask(text="raise both hands", duration=0.5)
    assert "preempted" in peer.result(first).message
    assert peer.result(second).success
    for bad, said in (
        ({"text": "", "duration": float("nan")}, "duration"),
        ({"text": "walk", "duration": 3600.0}, "duration"),
        ({"text": "walk " * 2000, "duration": 2.0}, "characters"),
        ({"text": "walk", "duration": 2.0, "start": 1}, "no body came"),
    ):
        refused = peer.result(peer.ask(**bad))
        assert not refused.success
        assert said in refused.message
    peer.node.set_parameters([Parameter("max_seconds", value=2.0)])
    refused = peer.result(peer.ask(text="walk", duration=2.5))
    assert "max_seconds is 2 s" in refused.message
    peer.node.set_parameters([Parameter("max_seconds", value=30.0)])
    assert peer.result(peer.ask(text="wave", duration=0.5)).success
    peer.operator_takes_over_and_hands_back()
    assert largest_speed(peer.shown) < 12.0  # half a turn of an arm in a blend: 7 m/s


def test_a_deactivated_node_blends_to_rest(peer):
    """Regression: ending the goal stopped the playback, so that no blend was seen to be needed."""
    peer.ask(text="walk forward", duration=20.0, play=True)
    peer.until(lambda: peer.node._playback.playing)
    peer.until(lambda: peer.node._playback.fraction(peer.node.now()) > 0.05)
    peer.node.trigger_deactivate()
    last = peer.node._takeover.shown
    assert last.remarks == ("generated", "at rest")
    away = rotations.angle_between(last.rotations, peer.node._playback.at_rest().rotations[0])
    assert away.max() < 1e-3
    peer.until(lambda: peer.shown[-1].stamp == last.stamp)
    assert largest_speed(peer.shown) < 12.0


def test_a_node_that_does_not_play_refuses_to(peer, monkeypatch):
    monkeypatch.setitem(peer.node.settings, "play", False)
    refused = peer.result(peer.ask(text="walk", duration=0.5, play=True))
    assert not refused.success
    assert "parameter play is false" in refused.message
    assert peer.result(peer.ask(text="walk", duration=0.5)).success


def test_say_plays_sentences_one_after_the_other(peer, capsys):
    status: list[int] = []
    words = ["say", "wave with the right hand", "walk forward", "--seconds", "0.5"]
    thread = Thread(target=lambda: status.append(cli.main(words)))
    thread.start()
    peer.until(lambda: not thread.is_alive())
    assert status == [0]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("wave with", "walk forward")) for line in lines) == 2


def test_say_refuses_a_bad_sentence_before_it_plays_any(capsys):
    assert cli.main(["say", "wave", "walk " * 2000]) == 2
    assert "characters" in capsys.readouterr().err
