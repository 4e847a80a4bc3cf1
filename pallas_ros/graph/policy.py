"""Who may do what in the graph, as an SROS2 policy: what each node publishes, subscribes to, serves
and calls, and nothing else.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ENCLAVES = "/pallas"
"""The namespace of the enclaves; a node's is ``/pallas/<node>``."""

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
    """The enclave that a node of the graph runs in."""
    return f"{ENCLAVES}/{node}"


@dataclass
class Rights:
    """What a node does: names of topics and services, absolute."""

    publishes: set[str] = field(default_factory=set)
    subscribes: set[str] = field(default_factory=set)
    serves: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def merge(self, other: "Rights") -> None:
        """Add what another node of the same process does."""
        self.publishes |= other.publishes
        self.subscribes |= other.subscribes
        self.serves |= other.serves
        self.calls |= other.calls


def policy(nodes: Mapping[str, Rights]) -> str:
    """The policy document (SROS2 policy schema 0.2.0) in which each node has an enclave
    of its own.
    """
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
    """Who can call what, for people: a line for each service but those for parameters, which every
    node has.
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
