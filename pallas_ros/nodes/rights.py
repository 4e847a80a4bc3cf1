"""What each node of the running graph publishes, subscribes to, serves and calls.

As discovered by the middleware.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.node import Node

from pallas_ros.graph.policy import Rights
from pallas_ros.ros.health import TAPS
from pallas_ros.ros.leaving import own_context

LISTENER = "pallas_policy"
LOOK_S = 0.25


def rights_of(listener: Node) -> dict[str, Rights]:
    """Return the current endpoints of each node.

    A helper node that only holds subscriptions is merged with the node it belongs to.
    """
    found: dict[str, Rights] = {}
    for name, namespace in listener.get_node_names_and_namespaces():
        if name == listener.get_name() or name.startswith("_"):
            continue
        rights = Rights(
            publishes=_names(listener.get_publisher_names_and_types_by_node(name, namespace)),
            subscribes=_names(listener.get_subscriber_names_and_types_by_node(name, namespace)),
            serves=_names(listener.get_service_names_and_types_by_node(name, namespace)),
            calls=_names(listener.get_client_names_and_types_by_node(name, namespace)),
        )
        found.setdefault(name.removesuffix(TAPS), Rights()).merge(rights)
    return found


@contextmanager
def listening() -> Iterator[Node]:
    """Open an observer node in a ROS context of its own."""
    with own_context() as (context, nodes):
        node = Node(LISTENER, context=context, start_parameter_services=False, enable_rosout=False)
        nodes.callback(node.destroy_node)
        yield node


def settled(listener: Node, seconds: float) -> dict[str, Rights]:
    """Return `rights_of` once nothing new has been discovered for ``seconds``."""
    found = rights_of(listener)
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(LOOK_S)
        now = rights_of(listener)
        if now != found:
            found = now
            since = time.monotonic()
    return found


def _names(pairs: list[tuple[str, Any]]) -> set[str]:
    return {name for name, _ in pairs}
