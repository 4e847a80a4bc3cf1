"""An action server that persists while its node is reconfigured."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup

Execute = Callable[[Any], Awaitable[Any]]


class Owner(Protocol):
    """Interface that an action requires of its node."""

    active: bool

    def report(self, name: str, error: Exception) -> str:
        """Report an exception and return its message."""
        ...


class Action:
    """One action of a node; see `PallasNode.serve_action`."""

    def __init__(
        self,
        node: Owner,
        kind: type[Any],
        name: str,
        execute: Execute,
        cancel: Callable[[Any], None],
    ) -> None:
        """Advertise it."""
        self._node = node
        self._kind = kind
        self._what = f"action {name}"
        self.replace(execute, cancel)
        server: Any = ActionServer
        self._server = server(
            node,
            kind,
            name,
            self._run,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def replace(self, execute: Execute, cancel: Callable[[Any], None]) -> None:
        """Set the callback for subsequent goals."""
        self._execute = execute
        self._cancel = cancel

    def destroy(self) -> None:
        """Destroy the server; the executor must not handle events afterwards."""
        self._server.destroy()

    def _on_goal(self, _: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if self._node.active else GoalResponse.REJECT

    def _on_cancel(self, goal: Any) -> CancelResponse:
        self._cancel(goal)
        return CancelResponse.ACCEPT

    async def _run(self, goal: Any) -> Any:
        try:
            return await self._execute(goal)
        except Exception as error:
            if goal.is_active:
                goal.abort()
            return self._kind.Result(success=False, message=self._node.report(self._what, error))
