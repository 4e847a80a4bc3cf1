"""The graph description: arguments, conditions, parameters, and error messages."""

from pathlib import Path

import pytest
import yaml

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.graph.description import MANAGER, Graph, read_config
from pallas_ros.graph.foreground import parse
from pallas_ros.graph.processes import node_commands
from pallas_ros.graph.shared_memory import (
    clean_shared_memory,
    mapped_files,
    remove_abandoned,
)
from pallas_ros.imu.ports import SIMULATED, with_simulated
from pallas_ros.nodes.__main__ import split

GRAPH = Graph.load()


def names(**arguments: str) -> list[str]:
    return [node.node for node in GRAPH.resolve(arguments)]


def test_the_default_graph_is_the_whole_chain_with_simulated_sensors_and_arm() -> None:
    assert set(names()) == {
        "imu_simulator",
        "imu_driver",
        "pallas_node",
        "hpstm",
        "retarget",
        "arm_simulator",
    }


def test_arguments_choose_the_nodes() -> None:
    assert "imu_simulator" not in names(imu_source="serial")
    assert set(names(imu_source="topics", robot="")) == {"pallas_node", "hpstm"}
    assert set(names(imu_source="none", body="pose", robot="")) == {"pose_adapter", "hpstm"}
    assert "arm_simulator" not in names(arm="real")
    assert {"recorder", "visualizer"} <= set(names(record="bag", view="true"))


def test_only_a_human_holds_the_switch_of_a_real_arm() -> None:
    assert "operator" in names(operator="auto")
    assert "operator" not in names(operator="auto", arm="real")


def test_arguments_become_parameters_of_the_right_type() -> None:
    nodes = {
        node.node: node
        for node in GRAPH.resolve(
            {"height": "1.9", "calibration": "me.yaml", "use_sim_time": "true"}
        )
    }
    assert nodes["pallas_node"].parameters["height_m"] == 1.9
    assert nodes["pallas_node"].parameters["calibration"] == "me.yaml"
    assert all(node.parameters["use_sim_time"] is True for node in nodes.values())
    assert "model" not in nodes["pallas_node"].parameters  # empty: left to the file


def test_serial_ports_and_a_camera_are_given_as_arguments() -> None:
    """No parameter file is needed for sensors or a camera."""
    serial = {"imu_source": "serial", "ports": "/dev/a, usb:B,/dev/c,/dev/d", "protocol": "csv"}
    nodes = {node.node: node.parameters for node in GRAPH.resolve({**serial, "baud_rate": "9600"})}
    assert nodes["imu_driver"]["ports"] == ["/dev/a", "usb:B", "/dev/c", "/dev/d"]
    assert nodes["imu_driver"]["protocols"] == ["csv"]
    assert nodes["imu_driver"]["baud_rate"] == 9600
    nodes = {n.node: n.parameters for n in GRAPH.resolve({**serial, "ports": "[/dev/a, /dev/b]"})}
    assert nodes["imu_driver"]["ports"] == ["/dev/a", "/dev/b"]
    with pytest.raises(PallasError, match="protocols"):
        GRAPH.resolve({**serial, "protocol": "morse"})
    camera = {"imu_source": "none", "body": "pose", "pose_topic": "/people"}
    camera["pose_camera"] = "0, 0,1.2,0,0.1,-1.57"
    nodes = {
        node.node: node.parameters for node in GRAPH.resolve({**camera, "pose_format": "body_25"})
    }
    assert nodes["pose_adapter"]["input_topic"] == "/people"
    assert nodes["pose_adapter"]["format"] == "body_25"
    assert nodes["pose_adapter"]["camera"] == [0.0, 0.0, 1.2, 0.0, 0.1, -1.57]
    assert "message" not in nodes["pose_adapter"]
    with pytest.raises(PallasError, match="camera"):
        GRAPH.resolve({**camera, "pose_camera": "above the door"})


def test_optional_sensors_are_one_argument() -> None:
    given = {"extra_sites": "left_shin,right_shin"}
    nodes = {node.node: node.parameters for node in GRAPH.resolve(given)}
    for node in ("imu_simulator", "imu_driver", "pallas_node"):
        assert nodes[node]["extra_sites"] == ["left_shin", "right_shin"]
    with pytest.raises(PallasError, match="extra_sites"):
        GRAPH.resolve({"extra_sites": "left_toe"})


def test_the_ports_of_optional_simulated_sensors_need_not_be_given() -> None:
    sites = (*SITES, "left_shin", "right_shin")
    simulated = [f"{SIMULATED}/{site}" for site in SITES]
    assert with_simulated(simulated, sites) == [f"{SIMULATED}/{site}" for site in sites]
    real = ["/dev/a", "/dev/b", "/dev/c", "/dev/d"]
    assert with_simulated(real, sites) == real  # the driver then says that two are missing


def test_priority_applies_from_sensor_to_arm_and_to_what_receives_it() -> None:
    nodes = GRAPH.resolve({"priority": "30", "record": "bag", "view": "true", "operator": "auto"})
    assert {node.node for node in nodes if node.parameters.get("priority") == 30} == {
        "imu_simulator",
        "imu_driver",
        "pallas_node",
        "hpstm",
        "retarget",
        "recorder",
    }
    assert {node.node for node in GRAPH.resolve({}) if node.parameters.get("priority") == -1} == {
        "imu_simulator",
        "imu_driver",
        "pallas_node",
        "hpstm",
        "retarget",
    }
    assert not any("priority" in node.parameters for node in GRAPH.resolve({"priority": ""}))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"imu_sorce": "serial"}, "there is no argument 'imu_sorce': did you mean 'imu_source'"),
        ({"imu_source": "wifi"}, "imu_source:=wifi is none of simulator, serial, topics, none"),
        ({"height": "9"}, "'height_m' is 9, but must be a float from 1.2 to 2.2 m"),
        ({"height": "tall"}, "'height_m' is 'tall'"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(
    arguments: dict[str, str], sentence: str
) -> None:
    with pytest.raises(PallasError, match=sentence):
        GRAPH.resolve(arguments)


def test_in_one_process_every_node_keeps_its_own_arguments() -> None:
    nodes = GRAPH.resolve({"motion": "walk.npz"})
    (_, command), *rest = node_commands(nodes, single_process=True)
    assert not rest
    assert [group[0] for group in split(command[3:])] == [node.node for node in nodes]
    assert "motion:=walk.npz" in split(command[3:])[-1]
    separate = dict(node_commands(nodes, single_process=False))
    assert "motion:=walk.npz" in separate["imu_simulator"]
    assert set(separate) == {node.node for node in nodes} | {MANAGER}


def test_in_processes_of_their_own_the_nodes_wait_for_their_manager() -> None:
    nodes = GRAPH.resolve({"record": "bag", "operator": "auto"})
    separate = dict(node_commands(nodes, single_process=False))
    (order,) = (word for word in separate[MANAGER] if word.startswith("nodes:="))
    assert yaml.safe_load(order.removeprefix("nodes:=")) == [node.node for node in nodes]
    assert all("autostart:=false" in separate[node.node] for node in nodes)
    (_, together), *_ = node_commands(nodes, single_process=True)
    assert "autostart:=false" not in together


def test_those_that_listen_are_activated_before_those_that_speak() -> None:
    order = names(record="bag", monitor="true", view="true", operator="auto")
    chain = ["recorder", "arm_simulator", "retarget", "hpstm", "pallas_node", "imu_driver"]
    assert [node for node in order if node in chain] == chain
    assert order[-1] == "imu_simulator"


def test_a_configuration_file_gives_arguments_and_parameter_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("hpstm:\n  ros__parameters:\n    lookahead: 2\n")
    config = tmp_path / "graph.yaml"
    config.write_text("arguments: {robot: ur5, view: true}\nparameter_files: {hpstm: mine.yaml}\n")
    arguments, files = read_config(config)
    nodes = {node.node: node for node in GRAPH.resolve(arguments, files)}
    assert nodes["hpstm"].file == tmp_path / "mine.yaml"
    assert nodes["retarget"].parameters["robot"] == "ur5"
    assert "visualizer" in nodes
    config.write_text("parameter_files: {hpstm: other.yaml}\n")
    with pytest.raises(PallasError, match=r"other\.yaml, does not exist"):
        read_config(config)
    config.write_text("robot: ur5\n")
    with pytest.raises(
        PallasError, match="expected the mappings 'arguments' and 'parameter_files', found robot"
    ):
        read_config(config)


def test_words_of_the_command_line() -> None:
    assert parse(["robot:=ur5", "record:="]) == {"robot": "ur5", "record": ""}
    with pytest.raises(PallasError, match="'robot=ur5' is not of the form name:=value"):
        parse(["robot=ur5"])


def test_only_shared_memory_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    import fcntl
    import os

    for name in ("fastdds_dead", "fastdds_alive", "fastdds_young", "other_file"):
        for path in (tmp_path / name, tmp_path / f"{name}_el"):
            path.write_bytes(b"x")
            if "young" not in name:
                os.utime(path, (0, 0))
    with (tmp_path / "fastdds_alive_el").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean_shared_memory(tmp_path) == 2
    assert not (tmp_path / "fastdds_dead").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{end}"
        for name in ("fastdds_alive", "fastdds_young", "other_file")
        for end in ("", "_el")
    }


def test_files_of_ended_processes_are_removed_unless_others_use_or_own_them(tmp_path: Path) -> None:
    import fcntl
    import mmap
    import os

    paths = {name: tmp_path / f"fastdds_{name}" for name in ("ownerless", "mapped", "owned")}
    for path in paths.values():
        path.write_bytes(bytes(mmap.PAGESIZE))
    paths["owned"].with_name("fastdds_owned_el").touch()
    with (
        paths["mapped"].open("r+b") as file,
        mmap.mmap(file.fileno(), 0),
        (tmp_path / "fastdds_owned_el").open("r+") as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        assert mapped_files([os.getpid()], tmp_path) == {paths["mapped"]}
        assert remove_abandoned(paths.values(), tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fastdds_mapped",
        "fastdds_owned",
        "fastdds_owned_el",
    ]


def test_the_signals_that_end_a_graph_are_sent_before_a_node_can_run() -> None:
    import os

    from pallas_ros.runtime.realtime import USUAL_PRIORITY, urgent

    before = os.sched_getscheduler(0)
    with urgent():
        permitted = os.sched_getscheduler(0) == os.SCHED_FIFO
        assert not permitted or os.sched_getparam(0).sched_priority > USUAL_PRIORITY
    assert os.sched_getscheduler(0) == before
