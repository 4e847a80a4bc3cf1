"""Asks a service of the running graph, once."""

import time
from typing import Any

import rclpy

from pallas_ros.body.errors import PallasError

_FIND_S = 5.0
_ANSWER_S = 5.0


def ask(kind: type[Any], name: str, **fields: Any) -> Any:
    """The answer of the service ``name`` of type ``kind`` to a request with these fields.

    Raises:
        PallasError: no node offers it, it does not answer, or it refuses.
    """
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node(f"ask_{time.time_ns()}", context=context, enable_rosout=False)
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
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
    finally:
        context.try_shutdown()
