"""Lifecycle node whose publishers and subscriptions have no QoS events.

rclpy registers callbacks for QoS events with every publisher and subscription, which log endpoints
that do not match. If an endpoint is destroyed while an event is pending, rclpy's EventsExecutor
releases Python objects without holding the GIL, which causes a segmentation fault (ros2/rclpy issue
1644). Mismatches are found by querying the graph instead (`EndpointNode.mismatches`).
"""

from collections.abc import Iterable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

from pallas_ros.ros.matching import publisher_mismatch, subscriber_mismatch


class EndpointNode(LifecycleNode):  # type: ignore[misc]
    """Create publishers and subscriptions without QoS events, and find mismatched endpoints."""

    def create_publisher(self, *args: Any, **kwargs: Any) -> Publisher[Any]:
        """Create a publisher as in rclpy, by default without QoS events."""
        kwargs.setdefault("event_callbacks", PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_publisher(*args, **kwargs)

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """Create a lifecycle publisher as in rclpy, by default without QoS events."""
        kwargs.setdefault("event_callbacks", PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_lifecycle_publisher(*args, **kwargs)

    def create_subscription(self, *args: Any, **kwargs: Any) -> Subscription[Any]:
        """Create a subscription as in rclpy, by default without QoS events."""
        kwargs.setdefault(
            "event_callbacks", SubscriptionEventCallbacks(use_default_callbacks=False)
        )
        return super().create_subscription(*args, **kwargs)

    def mismatches(self, endpoints: Iterable[Any]) -> dict[str, str]:
        """Describe the topics of this node's ``endpoints`` on which the type or QoS of another node
        does not match; topic -> sentence.
        """
        subscriptions: dict[str, list[Subscription[Any]]] = {}
        publishers: dict[str, Publisher[Any]] = {}
        for endpoint in endpoints:
            if isinstance(endpoint, Subscription):
                subscriptions.setdefault(endpoint.topic_name, []).append(endpoint)
            elif isinstance(endpoint, Publisher):
                publishers[endpoint.topic_name] = endpoint
        found: dict[str, str] = {}
        for topic, publisher in publishers.items():
            # The count is cheap; the list of subscriptions is not.
            if self.count_subscribers(topic) > publisher.get_subscription_count():
                there = self.get_subscriptions_info_by_topic(topic)
                kind = _type_name(publisher.msg_type)
                found[topic] = subscriber_mismatch(topic, there, kind, publisher.qos_profile)
        for topic, own in subscriptions.items():
            if self.count_publishers(topic) > min(each.get_publisher_count() for each in own):
                there = self.get_publishers_info_by_topic(topic)
                kind = _type_name(own[0].msg_type)
                found[topic] = publisher_mismatch(
                    topic, there, kind, [each.qos_profile for each in own]
                )
        return {topic: sentence for topic, sentence in found.items() if sentence}


def _type_name(kind: type[Any]) -> str:
    package, _, rest = kind.__module__.partition(".")
    return f"{package}/{rest.partition('.')[0]}/{kind.__name__}"
