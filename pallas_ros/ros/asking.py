"""Call a service or an action of the running graph once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.action import ActionClient

from pallas_ros.body.errors import PallasError
from pallas_ros.ros.leaving import own_context

_FIND_S = 5.0
_ANSWER_S = 5.0


def ask(kind: type[Any], name: str, **fields: Any) -> Any:
    """Call the service ``name`` of type ``kind`` with these request fields; return its response.

    Raises:
        PallasError: the service is unavailable, does not respond, or reports failure.
    """
    with _asking() as (node, executor):
        client = node.create_client(kind, name)
        if not client.wait_for_service(_FIND_S):
            raise PallasError(f"no node offers {name}: start the graph first (pallas up)")
        answer = client.call_async(kind.Request(**fields))
        executor.spin_until_future_complete(answer, _ANSWER_S)
        result = answer.result() if answer.done() else None
        if result is None:
            raise PallasError(f"{name} does not answer")
        if not result.success:
            raise PallasError(result.message)
        return result


def act(
    kind: type[Any], name: str, feedback: Callable[[Any], None] = lambda _: None, **fields: Any
) -> Any:
    """Send the action ``name`` of type ``kind`` a goal with these fields; return its result.

    Ctrl-C cancels the goal.

    Raises:
        PallasError: the action is unavailable, or the goal is rejected or fails.
    """
    with _asking() as (node, executor):
        client: Any = ActionClient(node, kind, name)
        if not client.wait_for_server(_FIND_S):
            raise PallasError(f"no node offers {name}: start the graph first (pallas up)")
        sent = client.send_goal_async(
            kind.Goal(**fields), feedback_callback=lambda message: feedback(message.feedback)
        )
        executor.spin_until_future_complete(sent, _ANSWER_S)
        handle = sent.result() if sent.done() else None
        if handle is None or not handle.accepted:
            raise PallasError(f"{name} does not accept a goal now: its node is not active")
        ended = handle.get_result_async()
        try:
            executor.spin_until_future_complete(ended)
        except KeyboardInterrupt:
            executor.spin_until_future_complete(handle.cancel_goal_async(), _ANSWER_S)
            raise
        if not ended.done():
            raise PallasError(f"{name} does not answer")
        result = ended.result().result
        if not result.success:
            raise PallasError(result.message)
        return result


@contextmanager
def _asking() -> Iterator[tuple[Any, Any]]:
    """Yield a temporary node and its executor."""
    with own_context() as (context, nodes):
        node = rclpy.create_node(f"ask_{time.time_ns()}", context=context, enable_rosout=False)
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
        nodes.callback(node.destroy_node)
        nodes.callback(executor.remove_node, node)
        yield node, executor
