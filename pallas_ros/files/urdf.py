"""Validate robot descriptions (URDF) before any robot library loads them.

Element counts are limited, the links must form one tree, and numbers must be finite and plausible.
The libraries build the tree recursively, test every pair of links, and accept any number: a chain
of thousands of links overflows their stack, thousands of joints take minutes, and an offset of
1e300 m turns every later comparison into NaN.
"""

import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from pallas_ros.core.errors import PallasError
from pallas_ros.files.xml_text import parse_xml

MAX_LINKS = 500
"""Limits; the largest robot of example-robot-data, a two-armed TIAGo with hands, has 130 links, 101
moving joints, and chains of 21.
"""
MAX_MOVING = 200
MAX_CHAIN = 100
MAX_ELEMENTS = 20_000
MAX_SHAPES = 300
"""Maximum shapes of each kind, since every pair may be tested for collision; the largest robot has
129.
"""
LARGEST_M = 20.0
"""Maximum joint offset, part size and prismatic travel in m; the largest in example-robot-data is
1.6 m.
"""

_LIMIT = 1e17  # some exporters write 1e16 for "no limit"
_RANGES: dict[str, dict[str, tuple[int, float, float]]] = {
    "origin": {"xyz": (3, -LARGEST_M, LARGEST_M), "rpy": (3, -1000, 1000)},
    "axis": {"xyz": (3, -1e6, 1e6)},
    "limit": dict.fromkeys(("lower", "upper", "velocity", "effort"), (1, -_LIMIT, _LIMIT)),
    "mass": {"value": (1, 0, 1e5)},
    "inertia": dict.fromkeys(("ixx", "ixy", "ixz", "iyy", "iyz", "izz"), (1, -1e7, 1e7)),
    "box": {"size": (3, 0, LARGEST_M)},
    "cylinder": dict.fromkeys(("radius", "length"), (1, 0, LARGEST_M)),
    "capsule": dict.fromkeys(("radius", "length"), (1, 0, LARGEST_M)),
    "sphere": {"radius": (1, 0, LARGEST_M)},
    "mesh": {"scale": (3, -1e4, 1e4)},
    "mimic": dict.fromkeys(("multiplier", "offset"), (1, -1e6, 1e6)),
    "dynamics": dict.fromkeys(("damping", "friction"), (1, 0, 1e9)),
}  # fmt: skip
"""Element -> attribute -> number of values, minimum and maximum."""


def parse_urdf(data: bytes, name: str) -> Element:
    """Return the root element of a URDF; ``name`` is its source, for error messages.

    Raises:
        PallasError: it is not XML, or `check_urdf` rejects it.
    """
    root = parse_xml(data, name, "URDF")
    check_urdf(root, name)
    return root


def check_urdf(root: Element, name: str) -> None:
    """Reject an implausible robot.

    Raises:
        PallasError: the root element is not a robot, links or joints are too many, share a name or
            do not form one tree, or a number is not finite or implausible.
    """
    check_counts(root, name)
    links = root.findall("link")
    joints = root.findall("joint")
    _check_tree(links, joints, name)
    for element in (*links, *joints):
        for message in _bad_numbers(element):
            raise PallasError(f"{name}: {element.tag} '{element.get('name')}': {message}")


def check_counts(root: Element, name: str) -> None:
    """Check the counts of `check_urdf`, before anything traverses the chains.

    Raises:
        PallasError: the root element is not a robot, or there are too many links, joints, shapes or
            elements.
    """
    if root.tag != "robot":
        raise PallasError(f"{name}: the outermost element is <{root.tag}>, a URDF's is <robot>")
    links = root.findall("link")
    joints = root.findall("joint")
    moving = sum(joint.get("type") != "fixed" for joint in joints)
    for count, what, most in (
        (len(links), "links", MAX_LINKS),
        (len(joints), "joints", MAX_LINKS),
        (moving, "joints that move", MAX_MOVING),
        (sum(1 for _ in root.iter()), "elements", MAX_ELEMENTS),
        (sum(1 for _ in root.iter("collision")), "collision shapes", MAX_SHAPES),
        (sum(1 for _ in root.iter("visual")), "visual shapes", MAX_SHAPES),
    ):
        if count > most:
            raise PallasError(f"{name}: a robot of {count} {what} (at most {most})")


def _check_tree(links: list[Element], joints: list[Element], name: str) -> None:
    names = _unique(links, name)
    if not names:
        raise PallasError(f"{name}: the robot has no links")
    _unique(joints, name)
    parents: dict[str, str] = {}
    for joint in joints:
        ends = []
        for end in ("parent", "child"):
            element = joint.find(end)
            link = None if element is None else element.get("link")
            if link not in names:
                raise PallasError(
                    f"{name}: joint '{joint.get('name')}' has '{link}' as its {end} link, which is"
                    " not in the robot"
                )
            ends.append(str(link))
        if ends[1] in parents:
            raise PallasError(f"{name}: link '{ends[1]}' is the child of two joints")
        parents[ends[1]] = ends[0]
    roots = [link for link in names if link not in parents]
    if len(roots) != 1:
        found = (
            f"{len(roots)} links are not the child of a joint"
            if roots
            else "every link is the child of a joint"
        )
        raise PallasError(f"{name}: its links do not form one tree: {found}")
    for link in names:
        length = 0
        while link in parents:
            link = parents[link]
            length += 1
            if length > MAX_CHAIN:
                raise PallasError(
                    f"{name}: a chain of more than {MAX_CHAIN} joints, or a closed loop"
                )


def _unique(elements: list[Element], name: str) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in elements:
        own = element.get("name")
        if not own:
            raise PallasError(f"{name}: a {element.tag} has no name")
        if own in found:
            raise PallasError(f"{name}: two {element.tag}s are named '{own}'")
        found[own] = element
    return found


def _bad_numbers(element: Element) -> Iterator[str]:
    """Describe invalid numbers in a link or joint."""
    moves = element.get("type") in ("revolute", "continuous", "prismatic")
    for part in element.iter():
        for attribute, (count, low, high) in _RANGES.get(part.tag, {}).items():
            text = part.get(attribute)
            if text is None:
                continue
            try:
                numbers = [float(word) for word in text.split()]
            except ValueError:
                numbers = []
            if len(numbers) != count or not all(low <= number <= high for number in numbers):
                wanted = "a number" if count == 1 else f"{count} numbers"
                yield (
                    f"<{part.tag}> has {attribute} '{text}', but must have {wanted} from {low:g} to"
                    f" {high:g}"
                )
            elif part.tag == "axis" and moves and not math.hypot(*numbers) > 1e-6:
                yield f"<axis> has xyz '{text}', which is not a direction"
