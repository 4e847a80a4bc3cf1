"""Links and joints of a URDF as a tree, validated per joint so that errors name the joint."""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from pallas_ros.body.errors import PallasError

_KINDS = {"revolute", "continuous", "prismatic", "fixed"}
_MOVING = {"revolute", "continuous", "prismatic"}
_FREE = {"floating": 6, "planar": 3}


@dataclass(frozen=True)
class Mimic:
    """A mimic relation: the position is ``multiplier`` times that of ``joint``, plus ``offset``;
    ``joint`` is empty if the master does not move; ``missing`` names one that does not exist.
    """

    joint: str
    multiplier: float
    offset: float
    missing: str = ""


@dataclass(frozen=True)
class Joint:
    """A joint of a URDF; limits in rad (m for prismatic joints), rad/s, Nm; infinite position
    limits for continuous joints.

    Velocity and effort of a continuous joint are 0 if the URDF does not state them.
    """

    name: str
    kind: str
    parent: str
    child: str
    lower: float
    upper: float
    velocity: float
    effort: float
    mimic: Mimic | None

    @property
    def moves(self) -> bool:
        """Whether the joint is not fixed."""
        return self.kind in _MOVING

    @property
    def driven(self) -> bool:
        """Whether the joint moves and does not mimic another joint."""
        return self.moves and self.mimic is None


class Tree:
    """Links and joints of one robot."""

    def __init__(self, links: tuple[str, ...], joints: tuple[Joint, ...]) -> None:
        """``joints`` must form a tree."""
        self.links = links
        self.joints = joints
        self._link_names = set(links)
        self.by_name = {joint.name: joint for joint in joints}
        self.above = {joint.child: joint for joint in joints}
        self.below: dict[str, list[Joint]] = defaultdict(list)
        for joint in joints:
            self.below[joint.parent].append(joint)
        self.root = next(link for link in links if link not in self.above)
        self._modelled = {self.model_name(joint): joint for joint in joints}

    def model_name(self, joint: Joint) -> str:
        """The name of a joint in Pinocchio, where links and joints must have different names."""
        return f"{joint.name} (joint)" if joint.name in self._link_names else joint.name

    def modelled(self, name: str) -> Joint:
        """The joint with the `model_name` ``name``."""
        return self._modelled[name]

    def path(self, link: str) -> list[Joint]:
        """The joints from the root to a link."""
        out: list[Joint] = []
        while link in self.above:
            out.append(self.above[link])
            link = self.above[link].parent
        return out[::-1]

    def under(self, link: str) -> list[str]:
        """The link and all its descendants, parents first."""
        out = [link]
        for at in out:
            out += [joint.child for joint in self.below[at]]
        return out

    def rigid(self, link: str) -> list[str]:
        """The link and all links fixed to it, parents first."""
        out = [link]
        for at in out:
            out += [joint.child for joint in self.below[at] if not joint.moves]
        return out


def parse(root: ElementTree.Element) -> Tree:
    """The tree of a ``<robot>`` element.

    Raises:
        PallasError: it is not a tree of links and joints, a joint has an unsupported type, or its
            limits are missing or invalid.
    """
    links = _names(root, "link")
    _names(root, "joint")
    if not links:
        raise PallasError("the URDF has no links")
    joints = tuple(_joint(element, set(links)) for element in root.findall("joint"))
    _check_order([joint for joint in joints if joint.lower > joint.upper])
    names = {joint.name: joint for joint in joints}
    parents = dict[str, Joint]()
    for joint in joints:
        if joint.child in parents:
            raise PallasError(
                f"link '{joint.child}' is the child of two joints, '{parents[joint.child].name}'"
                f" and '{joint.name}'"
            )
        parents[joint.child] = joint
    roots = [link for link in links if link not in parents]
    if len(roots) > 1:
        raise PallasError(
            f"the URDF has {len(roots)} root links, {_some(roots)}, but must have one: connect"
            " them with fixed joints"
        )
    if not roots:
        raise PallasError("the URDF has no root link: its joints form a loop")
    tree = Tree(links, tuple(_resolved(joint, names) for joint in joints))
    if len(tree.under(tree.root)) < len(links):
        lost = [link for link in links if link not in set(tree.under(tree.root))]
        raise PallasError(f"the joints above links {_some(lost)} form a loop")
    return tree


def _names(root: ElementTree.Element, what: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for element in root.findall(what):
        name = element.get("name", "")
        if not name:
            raise PallasError(f"a <{what}> of the URDF has no name")
        if name in names:
            raise PallasError(f"the URDF has two {what}s named '{_short(name)}'")
        names[name] = None
    return tuple(names)


def _joint(element: ElementTree.Element, links: set[str]) -> Joint:
    name = _short(element.get("name", ""))
    kind = element.get("type", "")
    if kind in _FREE:
        raise PallasError(
            f"joint '{name}' is {kind}, with {_FREE[kind]} degrees of freedom, but the base of an"
            ' arm must be fixed: make the joint type="fixed", or remove it and what is above it'
        )
    if kind not in _KINDS:
        raise PallasError(
            f"joint '{name}' is of type '{_short(kind)}'; supported types are revolute,"
            " continuous, prismatic and fixed"
        )
    ends = []
    for end in ("parent", "child"):
        found = element.find(end)
        link = "" if found is None else found.get("link", "")
        if link not in links:
            raise PallasError(
                f"joint '{name}' has no {end} link"
                if not link
                else (
                    f"joint '{name}' names '{_short(link)}' as its {end}, but there is no such link"
                )
            )
        ends.append(link)
    lower, upper, velocity, effort = _limits(element.find("limit"), name, kind)
    return Joint(
        element.get("name", ""),
        kind,
        ends[0],
        ends[1],
        lower,
        upper,
        velocity,
        effort,
        _mimic(element.find("mimic"), name),
    )


def _limits(
    limit: ElementTree.Element | None, name: str, kind: str
) -> tuple[float, float, float, float]:
    """Lower, upper, velocity, effort."""
    if kind == "fixed":
        return 0.0, 0.0, 0.0, 0.0
    unit = "m" if kind == "prismatic" else "rad"
    if kind == "continuous":
        velocity, effort = (
            0.0 if limit is None else _number(limit.get(key, "0"), f"joint '{name}': its {key}")
            for key in ("velocity", "effort")
        )
        return -math.inf, math.inf, velocity, effort
    if limit is None:
        raise PallasError(
            f"joint '{name}' is {kind} but has no <limit>: give lower and upper in {unit}, velocity"
            " and effort" + ("" if kind == "prismatic" else ', or make it type="continuous"')
        )
    for key in ("effort", "velocity"):  # lower and upper are 0 by default
        if limit.get(key) is None:
            raise PallasError(f"joint '{name}': its <limit> has no {key}, which is required")
    values = {
        key: _number(limit.get(key, "0"), f"joint '{name}': its {key} limit")
        for key in ("lower", "upper", "velocity", "effort")
    }
    return values["lower"], values["upper"], values["velocity"], values["effort"]


def _check_order(inverted: list[Joint]) -> None:
    """Reject joints whose lower limit is above the upper one, naming the first five."""
    if not inverted:
        return
    first = inverted[0]
    if len(inverted) == 1:
        raise PallasError(
            f"joint '{_short(first.name)}': its lower limit {first.lower:g} is above its upper"
            f" limit {first.upper:g}"
        )
    raise PallasError(
        f"joints {_some([joint.name for joint in inverted], 5)}: their lower limits are above"
        f" their upper limits ({first.lower:g} and {first.upper:g} for the first)"
    )


def _mimic(element: ElementTree.Element | None, name: str) -> Mimic | None:
    if element is None:
        return None
    return Mimic(
        element.get("joint", ""),
        _number(element.get("multiplier", "1"), f"joint '{name}': its mimic multiplier"),
        _number(element.get("offset", "0"), f"joint '{name}': its mimic offset"),
    )


def _resolved(joint: Joint, names: dict[str, Joint]) -> Joint:
    """The joint, with chains of mimic joints resolved to an independent joint."""
    if joint.mimic is None or not joint.moves:
        return replace(joint, mimic=None)
    multiplier = joint.mimic.multiplier
    offset = joint.mimic.offset
    name = joint.mimic.joint
    seen = 0
    while True:
        master = names.get(name)
        if seen > len(names):
            raise PallasError(f"joint '{_short(joint.name)}' mimics itself")
        if master is None or not master.moves:  # fixed, as in urdfdom and RViz
            missing = name if master is None else ""
            return replace(joint, mimic=Mimic("", 0.0, 0.0, missing))
        if master.mimic is None:
            return replace(joint, mimic=Mimic(name, multiplier, offset))
        offset += multiplier * master.mimic.offset
        multiplier *= master.mimic.multiplier
        name = master.mimic.joint
        seen = seen + 1


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PallasError(f"{what} is '{_short(text)}', but must be a finite number")
    return value


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _some(names: list[str], most: int = 4) -> str:
    """The first ``most`` names of a list, and the number of the others."""
    shown = ", ".join(f"'{_short(name)}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
