"""The launch files, loaded by the real `launch`; skipped if it is not installed."""

from pathlib import Path

import pytest

pytest.importorskip(
    "launch_ros",
    reason="launch and launch_ros are not installed here (they are on a machine with ROS 2)",
)

import importlib.util
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode

from launch import LaunchContext
from pallas_ros.body.resources import share
from pallas_ros.graph.description import Graph

FILES = sorted((share() / "launch").glob("*.launch.py"))


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def nodes(path: Path, **arguments: str) -> set[str]:
    """Return the executables of the lifecycle nodes created by a launch file with ``arguments``."""
    context = LaunchContext()
    description = load(path)
    context.launch_configurations.update(arguments)
    made: list[Any] = []
    for entity in description.entities:
        if isinstance(entity, (DeclareLaunchArgument, OpaqueFunction)):
            made += entity.execute(context) or []
    return {str(action.node_executable) for action in made if isinstance(action, LifecycleNode)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_declares_the_arguments_of_the_graph(path: Path) -> None:
    declared = {
        entity.name for entity in load(path).entities if isinstance(entity, DeclareLaunchArgument)
    }
    assert declared == set(Graph.load().arguments)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_discovers_only_this_machine_by_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    context = LaunchContext()
    made: list[Any] = []
    for entity in load(path).entities:
        made += entity.execute(context) or []
    first = next(k for k, action in enumerate(made) if isinstance(action, LifecycleNode))
    given = {
        perform_substitutions(context, action.name): perform_substitutions(context, action.value)
        for action in made[:first]
        if isinstance(action, SetEnvironmentVariable)
    }
    assert given["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_bringup_is_the_graph_of_pallas_up() -> None:
    bringup = share() / "launch" / "bringup.launch.py"
    for arguments in (
        {},
        {"record": "bag", "view": "true"},
        {"imu_source": "serial", "arm": "real"},
    ):
        assert nodes(bringup, **arguments) == {
            node.node for node in Graph.load().resolve(arguments)
        }


def test_the_parts() -> None:
    assert nodes(share() / "launch" / "pallas.launch.py") == {
        "imu_simulator",
        "imu_driver",
        "pallas_node",
    }
    assert nodes(share() / "launch" / "hpstm.launch.py") == {
        "pose_adapter",
        "hpstm",
        "retarget",
        "arm_simulator",
    }


@pytest.mark.parametrize(("body", "metres"), [("pallas", 0.3), ("pose", None)])
def test_only_the_sensors_body_may_be_less_sure_of_its_hands(
    body: str, metres: float | None
) -> None:
    retarget = next(
        node for node in Graph.load().resolve({"body": body}) if node.node == "retarget"
    )
    assert retarget.parameters.get("stop_deviation_m") == metres
