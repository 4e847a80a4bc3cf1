"""Filtering of messages by publisher and rate, without ROS, and detection of mismatched endpoints,
with ROS.
"""

import pytest

from pallas_ros.ros.intake import Intake, OnePublisher, RateLimit

NS = 1_000_000_000


def test_a_flood_of_one_publisher_is_cut_and_another_is_not() -> None:
    limit = RateLimit(240.0)
    taken = {"flood": 0, "steady": 0}
    for k in range(5000):
        now = NS + k * NS // 5000
        taken["flood"] += limit.admits("flood", now)
        if k % 83 == 0:
            taken["steady"] += limit.admits("steady", now)
    assert taken["steady"] == len(range(0, 5000, 83))
    assert taken["flood"] <= 240 + 60 + 1


def test_a_burst_after_a_stall_is_taken() -> None:
    limit = RateLimit(240.0)
    assert all(limit.admits("one", NS) for _ in range(30))


def test_hundreds_of_publishers_are_not_kept_for_ever() -> None:
    limit = RateLimit(10.0)
    for k in range(1000):
        assert limit.admits(str(k), NS + k)
    assert len(limit._buckets) <= 64


def test_while_locked_no_other_publisher_takes_the_place_of_the_first() -> None:
    locked = False
    one = OnePublisher(dict, lambda: locked)
    assert one.admits("a", 1) and one.admits("b", 2) and one.admits("a", 3)
    locked = True
    assert not one.admits("b", 4)
    assert not one.admits("b", 60 * NS)
    assert one.admits("a", 61 * NS)
    assert one.number == 1  # replacements before the lock do not count


def test_only_the_node_that_is_expected_is_listened_to_and_may_be_restarted() -> None:
    names = {"a": "/hpstm", "b": "/else"}
    one = OnePublisher(lambda: dict(names), lambda: True, "hpstm")
    assert not one.admits("b", NS)
    assert one.admits("a", NS + NS // 5)
    names["c"] = "/hpstm"
    assert not one.admits("c", NS + NS // 3)
    assert not one.admits("c", 2 * NS)
    assert one.admits("c", 2 * NS + NS // 10)
    assert not one.admits("b", 5 * NS)
    assert not one.admits("b", 6 * NS)
    exact = OnePublisher(lambda: {"a": "/lab/hpstm"}, lambda: True, "/hpstm")
    assert not exact.admits("a", NS)


def test_without_gids_every_publisher_must_have_the_name() -> None:
    """rclpy of Humble and Jazzy does not say who published a message."""
    names = {"a": "/hpstm"}
    one = OnePublisher(lambda: dict(names), lambda: True, "hpstm")
    assert one.admits("", NS)
    assert one.admits("", NS + 1)
    names["b"] = "/else"
    assert not one.admits("", NS + NS // 2)
    del names["b"]
    assert one.admits("", 2 * NS)
    names.clear()
    assert not one.admits("", 3 * NS)
    anybody = OnePublisher(dict, lambda: True, until_silent=True)
    assert anybody.admits("", NS) and anybody.admits("", 2 * NS)
    assert anybody.number == 1


def test_any_publisher_may_be_replaced_after_it_went_silent() -> None:
    one = OnePublisher(dict, lambda: True, until_silent=True)
    assert one.admits("a", NS)
    assert not one.admits("b", NS + NS // 3)
    assert not one.admits("b", 2 * NS)
    assert not one.admits("b", 2 * NS + NS // 20)
    assert one.admits("b", 2 * NS + NS // 10)
    assert not one.admits("a", 2 * NS + NS // 3)
    assert one.number == 2


def test_a_stall_of_the_node_is_no_silence_of_the_publisher() -> None:
    """Whoever was first in the queue afterwards took over and stayed."""
    one = OnePublisher(dict, lambda: True, until_silent=True)
    assert one.admits("ours", NS)
    for stall in range(2, 5):
        after = stall * NS
        assert not one.admits("theirs", after)
        assert one.admits("ours", after + 1000)
        assert not one.admits("theirs", after + 2000)
        assert one.admits("ours", after + NS // 5)
        assert not one.admits("theirs", after + NS // 5 + 1000)
    assert one.number == 1


def test_a_rebuilt_node_is_the_same_publisher_under_a_new_gid() -> None:
    """Its bodies were renamed after a change of a parameter, so that the arm held."""
    before, after = ("01" * 12 + entity for entity in ("00001203", "00001503"))
    elsewhere = "02" * 12 + "00001203"
    one = OnePublisher(dict, lambda: True, until_silent=True)

    def replaced(gid: str, now: int) -> bool:
        return not one.admits(gid, now) and one.admits(gid, now + NS // 5)

    assert one.admits(before, NS) and not one.admits(after, NS + NS // 4)
    assert replaced(after, 2 * NS) and one.number == 1
    assert replaced(elsewhere, 4 * NS) and one.number == 2
    assert replaced(before, 6 * NS) and one.number == 3


def test_several_strangers_do_not_keep_each_other_out() -> None:
    one = OnePublisher(dict, lambda: True, until_silent=True)
    assert one.admits("gone", NS)
    taken = {"a": 0, "b": 0}
    for k in range(20):
        for gid in taken:
            taken[gid] += one.admits(gid, 3 * NS + k * NS // 60)
    assert taken == {"a": 14, "b": 0}


def test_publishers_on_probation_are_not_kept_for_ever() -> None:
    one = OnePublisher(dict, lambda: True, until_silent=True)
    assert one.admits("gone", NS)
    assert not any(one.admits(str(k), 3 * NS + k) for k in range(1000))
    assert len(one._probation) <= 64


def test_refusals_are_counted_by_their_reason() -> None:
    intake = Intake(RateLimit(4.0), OnePublisher(lambda: {"a": "/hpstm"}, lambda: True, "hpstm"))
    assert [intake.admits(gid, NS) for gid in "aaaabb"] == [True, True, False, False, False, False]
    assert (intake.flooded, intake.unexpected) == (2, 2)


def test_publishers_that_cannot_be_heard_are_named() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    from types import SimpleNamespace

    from pallas_ros.ros.matching import publisher_mismatch, subscriber_mismatch
    from pallas_ros.ros.qos import ANY_OFFER, LATCHED, STREAM

    def offer(qos: object, kind: str = "std_msgs/msg/Bool") -> SimpleNamespace:
        return SimpleNamespace(
            topic_type=kind, qos_profile=qos, node_namespace="/", node_name="switch"
        )

    for qos in (ANY_OFFER, STREAM, LATCHED):
        assert publisher_mismatch("/stop", [offer(qos)], "std_msgs/msg/Bool", [ANY_OFFER]) == ""
    sentence = publisher_mismatch("/stop", [offer(ANY_OFFER)], "std_msgs/msg/Bool", [STREAM])
    assert "'/switch'" in sentence and "QoS" in sentence
    wrong = publisher_mismatch(
        "/stop", [offer(STREAM, "std_msgs/msg/Empty")], "std_msgs/msg/Bool", [STREAM]
    )
    assert "std_msgs/msg/Empty" in wrong
    for qos in (ANY_OFFER, STREAM):
        assert subscriber_mismatch("/stop", [offer(qos)], "std_msgs/msg/Bool", STREAM) == ""
    sentence = subscriber_mismatch("/stop", [offer(LATCHED)], "std_msgs/msg/Bool", STREAM)
    assert "'/switch'" in sentence and "QoS" in sentence
    wrong = subscriber_mismatch(
        "/stop", [offer(STREAM, "std_msgs/msg/Empty")], "std_msgs/msg/Bool", STREAM
    )
    assert "std_msgs/msg/Empty" in wrong
