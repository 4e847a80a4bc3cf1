"""Description of the node graph (`config/graph.yaml`): nodes, their parameters and conditions.

`pallas up` starts it and the launch files are generated from it, so that both run the same graph.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource, share
from pallas_ros.core.plugins import closest
from pallas_ros.files.parameters import describe
from pallas_ros.files.yaml_text import load_mapping, parse_yaml
from pallas_ros.graph.policy import enclave

ANY = "*"

MANAGER = "lifecycle_manager"
"""The node that brings up the others."""


@dataclass(frozen=True)
class Argument:
    """One argument of the graph; values are strings, as on a command line."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] | None = None

    def check(self, value: str) -> str:
        """Validate and return the value.

        Raises:
            PallasError: it is not one of the choices.
        """
        if self.choices is not None and value not in self.choices:
            raise PallasError(
                f"argument {self.name}:={value} is none of"
                f" {', '.join(choice or '(empty)' for choice in self.choices)}"
            )
        return value


@dataclass(frozen=True)
class NodeSpec:
    """One node of the description, before the arguments are known."""

    node: str
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remap: Mapping[str, str] = field(default_factory=dict)

    def runs(self, arguments: Mapping[str, str]) -> bool:
        """Whether it runs with these ``arguments``."""
        return all(
            bool(arguments[name]) if values == (ANY,) else arguments[name] in values
            for name, values in self.when.items()
        )


@dataclass(frozen=True)
class Node:
    """One node to run: entry point, parameter overrides, parameter file (or None), remappings."""

    node: str
    parameters: Mapping[str, Any]
    file: Path | None
    remap: Mapping[str, str]

    def ros_arguments(self) -> list[str]:
        """Return the arguments after ``--ros-args``."""
        words = ["--params-file", str(self.file)] if self.file is not None else []
        for name, value in self.parameters.items():
            words += ["-p", f"{name}:={_yaml(value)}"]
        for topic, other in self.remap.items():
            words += ["-r", f"{topic}:={other}"]
        return words + self.security_arguments()

    def security_arguments(self) -> list[str]:
        """Return the arguments for the node's enclave, if ROS security is enabled."""
        enabled = os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true"
        return ["--enclave", enclave(self.node)] if enabled else []


@dataclass(frozen=True)
class Graph:
    """The description: arguments, and nodes in order of activation."""

    arguments: Mapping[str, Argument]
    nodes: tuple[NodeSpec, ...]

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Graph":
        """Load a description; by default `config/graph.yaml`.

        Raises:
            PallasError: it is invalid.
        """
        path = Path(path) if path else share() / "config" / "graph.yaml"
        document = _read(path)
        try:
            arguments = {
                name: Argument(
                    name,
                    str(entry["default"]),
                    str(entry["help"]),
                    tuple(map(str, entry["choices"])) if "choices" in entry else None,
                )
                for name, entry in document["arguments"].items()
            }
            nodes = tuple(_spec(entry) for entry in document["nodes"])
        except (KeyError, TypeError, AttributeError) as error:
            raise PallasError(
                f"{path}: not a description of a graph: {type(error).__name__} {error}; see"
                " config/graph.yaml of the package"
            ) from None
        for spec in nodes:
            for name in spec.when:
                if name not in arguments:
                    raise PallasError(
                        f"{path}: node {spec.node} runs if '{name}' is set, but there is no such"
                        f" argument: {closest(name, dict(arguments))}"
                    )
        return cls(arguments, nodes)

    def complete(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return all arguments with their values.

        Raises:
            PallasError: an argument does not exist or has an invalid value.
        """
        for name in given:
            if name not in self.arguments:
                raise PallasError(
                    f"there is no argument '{name}': {closest(name, dict(self.arguments))}"
                )
        return {
            name: argument.check(given.get(name, argument.default))
            for name, argument in self.arguments.items()
        }

    def resolve(
        self,
        given: Mapping[str, str],
        files: Mapping[str, Path] | None = None,
        only: Iterable[str] | None = None,
    ) -> list[Node]:
        """Return the nodes to run for the arguments ``given``, in order of activation.

        Their parameters are validated.

        Args:
            given: argument -> value; the others have their defaults.
            files: node -> parameter file that replaces `config/<node>.yaml`.
            only: names of nodes; the others are omitted.

        Raises:
            PallasError: an argument or a parameter is invalid.
        """
        arguments = self.complete(given)
        nodes = []
        for spec in self.nodes:
            if not spec.runs(arguments) or (only is not None and spec.node not in set(only)):
                continue
            described = describe(spec.node)
            parameters = {}
            for name, value in spec.parameters.items():
                filled = value.format(**arguments) if isinstance(value, str) else value
                if filled == "":
                    continue
                if name not in described:
                    raise PallasError(
                        f"node {spec.node} has no parameter '{name}': {closest(name, described)}"
                    )
                parameters[name] = described[name].check(
                    _typed(filled, name, described[name].type)
                    if isinstance(filled, str)
                    else filled
                )
            if arguments.get("use_sim_time") == "true":
                parameters["use_sim_time"] = True
            default = share() / "config" / f"{spec.node}.yaml"
            file = (files or {}).get(spec.node, default if default.exists() else None)
            nodes.append(Node(spec.node, parameters, file, dict(spec.remap)))
        return nodes


def managed(nodes: Sequence[Node]) -> list[Node]:
    """Prepare ``nodes`` to run in separate processes.

    Autostart is disabled; the manager, which is first, brings them up in this order.
    """
    waiting = [replace(node, parameters={**node.parameters, "autostart": False}) for node in nodes]
    return [Node(MANAGER, {"nodes": [node.node for node in nodes]}, None, {}), *waiting]


def read_config(path: str | Path) -> tuple[dict[str, str], dict[str, Path]]:
    """Read a file for ``pallas up --config``: ``arguments`` (name -> value) and ``parameter_files``
    (node -> path), both optional.

    Raises:
        PallasError: it is not such a file.
    """
    path = resource(path)
    document = _read(path)
    unknown = set(document) - {"arguments", "parameter_files"}
    if unknown or not all(
        isinstance(document.get(key) or {}, dict) for key in ("arguments", "parameter_files")
    ):
        raise PallasError(
            f"{path}: expected the mappings 'arguments' and 'parameter_files', found"
            f" {', '.join(map(str, document)) or 'nothing'}"
        )
    arguments = {
        str(name): _word(value) for name, value in (document.get("arguments") or {}).items()
    }
    files = {
        str(node): path.parent / str(file)
        for node, file in (document.get("parameter_files") or {}).items()
    }
    for node, file in files.items():
        if not os.path.exists(file):
            raise PallasError(f"{path}: the parameter file of {node}, {file}, does not exist")
    return arguments, files


def _read(path: Path) -> dict[str, Any]:
    return load_mapping(path, "configuration of the graph")


def _spec(entry: Mapping[str, Any]) -> NodeSpec:
    when = {
        name: tuple(map(_word, values)) if isinstance(values, list) else (_word(values),)
        for name, values in entry.get("when", {}).items()
    }
    return NodeSpec(entry["node"], when, entry.get("parameters") or {}, entry.get("remap") or {})


def _typed(word: str, name: str, kind: str) -> Any:
    """Return the value of a parameter given as an argument; a list is separated by commas."""
    if kind == "string":
        return word
    if kind in ("strings", "floats", "ints") and not word.startswith("["):
        parts = [part.strip() for part in word.split(",")]
        return parts if kind == "strings" else [_typed(part, name, kind[:-1]) for part in parts]
    return parse_yaml(word, f"parameter '{name}'", "value")


def _word(value: Any) -> str:
    """Format a YAML value as on a command line."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(value: Any) -> str:
    """Format a parameter value as ROS arguments require it."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6)
        .removesuffix("\n")
        .removesuffix("\n...")
    )
