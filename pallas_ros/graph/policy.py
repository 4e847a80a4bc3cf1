"""SROS2 policy of the graph: each node may only use its own topics and services."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ENCLAVES = "/pallas"
"""Namespace of the enclaves; a node's is ``/pallas/<node>``."""

_COMMON_PARAMETERS = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "get_type_description",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)


def enclave(node: str) -> str:
    """Return the enclave of a node of the graph."""
    return f"{ENCLAVES}/{node}"


@dataclass
class Rights:
    """Endpoints of a node: absolute names of topics and services."""

    publishes: set[str] = field(default_factory=set)
    subscribes: set[str] = field(default_factory=set)
    serves: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def merge(self, other: "Rights") -> None:
        """Add the endpoints of another node of the same process."""
        self.publishes |= other.publishes
        self.subscribes |= other.subscribes
        self.serves |= other.serves
        self.calls |= other.calls


def policy(nodes: Mapping[str, Rights]) -> str:
    """Return the policy document (SROS2 policy schema 0.2.0); each node has its own enclave."""
    root = ET.Element("policy", version="0.2.0")
    enclaves = ET.SubElement(root, "enclaves")
    for name, rights in sorted(nodes.items()):
        profiles = ET.SubElement(ET.SubElement(enclaves, "enclave", path=enclave(name)), "profiles")
        profile = ET.SubElement(profiles, "profile", ns="/", node=name)
        _rule(profile, "topics", "subscribe", "topic", rights.subscribes)
        _rule(profile, "topics", "publish", "topic", rights.publishes)
        _rule(profile, "services", "reply", "service", rights.serves)
        _rule(profile, "services", "request", "service", rights.calls)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def table(nodes: Mapping[str, Rights]) -> str:
    """Return a readable table of which node can call what.

    One line per service, except the parameter services, which every node has.
    """
    lines = []
    for name, rights in sorted(nodes.items()):
        common = {f"/{name}/{service}" for service in _COMMON_PARAMETERS}
        lines += [f"{service}  ({name})" for service in sorted(rights.serves - common)]
    return "\n".join(lines)


def _rule(profile: ET.Element, group: str, right: str, kind: str, names: Iterable[str]) -> None:
    ordered = sorted(names)
    if not ordered:
        return
    rule = ET.SubElement(profile, group, {right: "ALLOW"})
    for name in ordered:
        ET.SubElement(rule, kind).text = name
