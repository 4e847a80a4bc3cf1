"""The graph of `config/graph.yaml` as a launch description: what the launch files are made of. Needs ROS 2's `launch` and `launch_ros`."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share
from pallas_ros.graph.description import Graph, Node

PACKAGE = "pallas"


def description(
    defaults: Mapping[str, str] | None = None, only: Sequence[str] | None = None
) -> LaunchDescription:
    """A launch description of the graph.

    Args:
        defaults: arguments whose default differs here.
        only: the nodes that belong to it, by entry point; None: all.

    Its arguments are those of the graph that its nodes depend on. Every node is a lifecycle node that launch configures and
    activates. Where one ends by itself, all end.
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
    actions: list[Any] = []
    for node in nodes:
        actions += _managed(node)
    if arguments["rviz"] == "true":
        actions.append(
            ExecuteProcess(
                cmd=["rviz2", "-d", str(share() / "config" / "pallas.rviz")], output="screen"
            )
        )
    return actions


def _managed(node: Node) -> list[Any]:
    """A lifecycle node, what configures it at its start and activates it once configured, and what ends all when it ends."""
    action = LifecycleNode(
        package=PACKAGE,
        executable=node.node,
        name=node.node,
        namespace="",
        output="screen",
        parameters=[
            *([str(node.file)] if node.file is not None else []),
            {**node.parameters, "autostart": False},
        ],
        remappings=list(node.remap.items()),
    )
    configure = EmitEvent(
        event=ChangeState(
            lifecycle_node_matcher=matches_action(action),
            transition_id=Transition.TRANSITION_CONFIGURE,
        )
    )
    activate = EmitEvent(
        event=ChangeState(
            lifecycle_node_matcher=matches_action(action),
            transition_id=Transition.TRANSITION_ACTIVATE,
        )
    )
    refused = f"{node.node} did not configure; its message is above"
    return [
        RegisterEventHandler(OnProcessExit(target_action=action, on_exit=_end_all)),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=action,
                start_state="configuring",
                goal_state="inactive",
                entities=[activate],
            )
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=action,
                start_state="configuring",
                goal_state="unconfigured",
                entities=[Shutdown(reason=refused)],
            )
        ),
        action,
        configure,
    ]


def _end_all(event: Any, context: Any) -> list[Any]:
    """What happens when a node's process has ended: unless the graph is ending anyhow, it ends now."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{event.action.name} has ended")]
