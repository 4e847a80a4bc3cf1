"""Find publishers and subscriptions that do not match: wrong type or incompatible QoS."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import rclpy
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

_GID_SINCE = (9, 1, 1)
"""Version of rclpy (Kilted) that passes the publisher's gid with a message (rclpy issue 1466)."""


@cache
def knows_publishers() -> bool:
    """Whether a message says which of the publishers in the graph sent it.

    rclpy of Humble and Jazzy does not, and the gids of rmw_cyclonedds are not those of its graph
    (ros2/rmw_cyclonedds issue 377).
    """
    try:
        numbers = tuple(int(part) for part in version("rclpy").split(".")[:3])
    except (PackageNotFoundError, ValueError):
        return False
    return numbers >= _GID_SINCE and "fastrtps" in rclpy.get_rmw_implementation_identifier()


def gid_of(info: Any) -> str:
    """Return the gid of a ``TopicEndpointInfo``, formatted as the source in `PallasNode`."""
    return bytes(info.endpoint_gid).hex()


def full_name(info: Any) -> str:
    """Return the node name of a ``TopicEndpointInfo``, with its namespace."""
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def publisher_names(node: Any, topic: str) -> dict[str, str]:
    """The publishers of a topic: from gid to the full name of their node."""
    return {gid_of(info): full_name(info) for info in node.get_publishers_info_by_topic(topic)}


def is_compatible(info: Any, type_name: str, profiles: Iterable[QoSProfile]) -> bool:
    """Whether a publisher matches a subscription of this type with one of these ``profiles``."""
    return info.topic_type == type_name and any(
        qos_check_compatible(info.qos_profile, profile)[0] != QoSCompatibility.ERROR
        for profile in profiles
    )


def publisher_mismatch(
    topic: str, publishers: Iterable[Any], type_name: str, profiles: Iterable[QoSProfile]
) -> str:
    """Describe in one sentence why publishers of a topic do not match; empty if all do."""
    for info in publishers:
        if info.topic_type != type_name:
            return (
                f"{topic}: '{full_name(info)[:60]}' publishes {info.topic_type[:60]}, "
                f"but {type_name} is expected"
            )
        if not is_compatible(info, type_name, profiles):
            return (
                f"{topic}: messages from '{full_name(info)[:60]}' are not received "
                "(its QoS does not match); make it reliable"
            )
    return ""


def latching_mismatch(topic: str, publishers: Iterable[Any]) -> str:
    """Describe in one sentence which publisher's latched messages never arrive; empty if all do.

    DDS delivers messages from before the connection to reliable publishers' subscribers only.
    """
    for info in publishers:
        offer = info.qos_profile
        latches = offer.durability == DurabilityPolicy.TRANSIENT_LOCAL
        if latches and offer.reliability == ReliabilityPolicy.BEST_EFFORT:
            return (
                f"{topic}: latched messages from '{full_name(info)[:60]}' are not received "
                "(it is best effort); make it reliable"
            )
    return ""


def subscriber_mismatch(
    topic: str, subscriptions: Iterable[Any], type_name: str, profile: QoSProfile
) -> str:
    """Describe in one sentence why subscriptions of a topic do not match a publisher of this type
    with this ``profile``; empty if all do.
    """
    for info in subscriptions:
        if info.topic_type != type_name:
            return (
                f"{topic}: '{full_name(info)[:60]}' expects {info.topic_type[:60]}, "
                f"but {type_name} is published"
            )
        if qos_check_compatible(profile, info.qos_profile)[0] == QoSCompatibility.ERROR:
            return (
                f"{topic}: messages do not reach '{full_name(info)[:60]}' "
                "(its QoS does not match); make it best effort and volatile"
            )
    return ""
