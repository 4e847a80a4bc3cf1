"""The rights of nodes as an SROS2 policy: from given endpoints, and from running nodes."""

import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pallas_ros.graph.description import Graph
from pallas_ros.graph.policy import Rights, policy, table
from pallas_ros.graph.processes import node_commands


def _allowed(document: str, node: str, right: str) -> set[str]:
    root = ET.fromstring(document.split("\n", 1)[1])
    (profile,) = root.findall(f"enclaves/enclave[@path='/pallas/{node}']/profiles/profile")
    assert profile.get("node") == node
    rules = [rule for rule in profile if rule.get(right) == "ALLOW"]
    return {str(name.text) for rule in rules for name in rule}


def test_a_policy_allows_only_what_is_in_use() -> None:
    nodes = {
        "hpstm": Rights({"/hpstm/body"}, {"/pallas/body", "/a&b"}, {"/hpstm/get_state"}, set()),
        "operator": Rights(publishes={"/retarget/dead_man"}),
    }
    document = policy(nodes)
    assert _allowed(document, "hpstm", "publish") == {"/hpstm/body"}
    assert _allowed(document, "hpstm", "subscribe") == {"/pallas/body", "/a&b"}
    assert _allowed(document, "hpstm", "reply") == {"/hpstm/get_state"}
    assert _allowed(document, "operator", "reply") == set()
    assert "DENY" not in document
    assert document.count("ALLOW") == 4


def test_the_table_of_services_leaves_out_what_every_node_has() -> None:
    rights = Rights(serves={"/hpstm/get_parameters", "/hpstm/change_state"})
    assert table({"hpstm": rights}) == "/hpstm/change_state  (hpstm)"


def test_with_security_every_node_runs_in_its_enclave(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Graph.load().resolve({})
    assert not any("--enclave" in command for _, command in node_commands(nodes, False))
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    for name, command in node_commands(nodes, False):
        assert command[command.index("--enclave") + 1] == f"/pallas/{name}"


def test_the_command_writes_what_running_nodes_do(
    ros_nodes: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
    from hpstm_ros.nodes.operator import OperatorNode
    from pallas_ros import cli

    node = OperatorNode()
    ros_nodes.append(node)
    node.bring("configure")
    out = tmp_path / "security" / "policy.xml"
    until = time.monotonic() + 60.0
    while cli.main(["policy", str(out), "--wait", "0.5"]) != 0:  # not discovered yet
        assert time.monotonic() < until
    assert "/retarget/dead_man" in _allowed(out.read_text(), "operator", "publish")
    assert "/operator/change_state" in _allowed(out.read_text(), "operator", "reply")
    capsys.readouterr()
    assert cli.main(["policy", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_without_security_in_the_middleware_there_is_one_sentence(
    ros_domain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import subprocess
    import sys

    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path / "keys"))
    command = [sys.executable, "-m", "pallas_ros.nodes", "operator"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.strip().splitlines()[-1].startswith("operator: ROS does not start: ")
    (tmp_path / "keys" / "enclaves").mkdir(parents=True)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "built without it" in ended.stderr or "security files" in ended.stderr
    assert "Traceback" not in ended.stderr
