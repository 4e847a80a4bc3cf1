"""Launch description of the graph in `config/graph.yaml`, used by the launch files.

Needs ROS 2's `launch` and `launch_ros`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch_ros.actions import LifecycleNode
from launch_ros.actions import Node as RosNode

from launch import LaunchDescription
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share
from pallas_ros.graph.description import MANAGER, Graph, Node, managed
from pallas_ros.ros import middleware

PACKAGE = "pallas"


def description(
    defaults: Mapping[str, str] | None = None, only: Sequence[str] | None = None
) -> LaunchDescription:
    """Create a launch description of the graph.

    Args:
        defaults: arguments with a different default.
        only: the nodes to include, by entry point; None: all.

    Its arguments are those of the graph that its nodes depend on. Every node is a lifecycle node
    that the node `lifecycle_manager` configures and activates, in the same order as with `pallas
    up`. If one ends by itself, all are shut down.
    """
    graph = Graph.load()
    given = dict(defaults or {})
    declared = [
        DeclareLaunchArgument(
            a.name,
            default_value=given.get(a.name, a.default),
            description=a.help,
            choices=list(a.choices) if a.choices else None,
        )
        for a in graph.arguments.values()
    ]
    return LaunchDescription(
        [
            *declared,
            OpaqueFunction(function=_nodes, args=[graph, list(only) if only is not None else None]),
        ]
    )


def _nodes(context: Any, graph: Graph, only: list[str] | None) -> list[Any]:
    arguments = {name: str(context.launch_configurations[name]) for name in graph.arguments}
    if arguments["rviz"] == "true":
        arguments["view"] = "true"
    try:
        nodes = graph.resolve(arguments, only=only)
    except PallasError as error:
        return [LogInfo(msg=f"pallas: {error}"), Shutdown(reason=str(error))]
    variables = middleware.discovery(arguments["discovery"], os.environ)
    actions: list[Any] = [SetEnvironmentVariable(*pair) for pair in variables.items()]
    for node in managed(nodes):
        action = _action(node)
        actions += [RegisterEventHandler(OnProcessExit(target_action=action, on_exit=_end_all))]
        actions += [action]
    if arguments["rviz"] == "true":
        actions.append(
            ExecuteProcess(
                cmd=["rviz2", "-d", str(share() / "config" / "pallas.rviz")], output="screen"
            )
        )
    return actions


_PATIENCE = {"sigterm_timeout": "120", "sigkill_timeout": "5"}
"""s; closing a bag of ten hours takes 10 s on a busy machine; launch's default is 10."""


def _action(node: Node) -> Any:
    kind = RosNode if node.node == MANAGER else LifecycleNode  # the manager starts by itself
    return kind(
        package=PACKAGE,
        executable=node.node,
        name=node.node,
        namespace="",
        output="screen",
        parameters=[
            *([str(node.file)] if node.file is not None else []),
            dict(node.parameters),
        ],
        remappings=list(node.remap.items()),
        ros_arguments=node.security_arguments(),
        **(_PATIENCE if node.node == "recorder" else {}),
    )


def _end_all(event: Any, context: Any) -> list[Any]:
    """Shut down the graph when a node's process has ended, unless it is already shutting down."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{event.action.name} has exited")]
