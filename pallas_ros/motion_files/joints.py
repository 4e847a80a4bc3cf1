"""Match the joints of a rig to those of the body: limbs by name, the trunk by the hierarchy.

Names are compared without namespace, common prefix, separators and case; the side is recognised in
all common forms (``LeftArm``, ``lShldr``, ``Bip01 L UpperArm``, ``upper_arm.L``, ``thigh_r``).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.motion_files.source import END_SUFFIX, Source, check_names

SPINE_JOINTS = ("spine1", "spine2", "spine3")
LIMB_ALIASES: dict[str, tuple[str, ...]] = {
    "hip": (
        *("upleg", "upperleg", "thigh", "thighbend", "femur", "legupper", "hip", "hipjoint"),
        "buttock",
    ),
    "knee": ("lowerleg", "lowleg", "leg", "shin", "shank", "calf", "tibia", "leglower", "knee"),
    "ankle": ("ankle", "foot"),
    "foot": (
        *("toebase", "toes", "toe", "toe0", "toe00", "ball", "forefoot", "bigtoe", "toebig"),
        *("metatarsals", "foot"),
    ),
    "shoulder": (
        *("upperarm", "uparm", "arm", "uarm", "shldr", "shldrbend", "humerus", "armupper"),
        *("shoulderjoint", "shoulder"),
    ),
    "collar": ("collar", "clavicle", "clav", "clavical", "shoulderbase", "shoulder"),
    "elbow": (
        *("forearm", "lowerarm", "lowarm", "farm", "forearmbend", "armlower", "elbow", "radius"),
        "forearmtwist",
    ),
    "wrist": ("wrist", "hand", "forearmend", "lowerarmend", "elbowend"),
}
"""Joint of a limb -> its names in rigs (lower case, without side and separators), best first.

Shoulders are looked up before collars, and ankles before feet, because many rigs call the upper arm
"arm" and the collar "shoulder", or the ankle "foot".
"""

_KNEES_BESIDE_LEG = tuple(name for name in LIMB_ALIASES["knee"] if name != "leg")
PELVIS = ("pelvis", "hips", "hip", "root", "midhip", "chip", "hipcenter", "hipcentre", "spinebase")
_NECK = re.compile(r"neck.*")
_NECK_OF_KINECT = ("spineshoulder", "shouldercenter")
"""Names used as the neck if a rig has none; in other rigs (Kinect 2) this joint carries the arms.
"""
_SPINE = re.compile(
    r"(lowerback|spine|chest|upperchest|torso|abdomen|ab|waist|back|l5|l3|t12|t8)[a-z]*\d*"
)
_NUMBERED = re.compile(r"(spine|neck)\d*")
_LIMB_NAMES = frozenset(name for names in LIMB_ALIASES.values() for name in names)
_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right"}
_KNOWN_PREFIX = re.compile(
    r"^(mixamorig\d*|bip\d+|character\d+|(def|org|c)(?=[_.\-]))[ _:.\-]*", re.IGNORECASE
)
_MIDDLE = ("m", "c", "x")
"""Marks of joints in the middle, or of all joints ("Spine1_M", "mPelvis", "root.x")."""
_FILLERS = ("stretch",)
"""Words without information about a joint ("thigh_stretch.l")."""
_DIGITS = "0123456789"
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_REQUIRED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def plain(name: str) -> tuple[str, str]:
    """Return side ("left", "right" or "") and the rest of a joint's name.

    The rest is in lower case without separators.
    """
    name = re.split(r"[:|]", name)[-1]
    name = _KNOWN_PREFIX.sub("", name) or name
    words = list(_WORDS.finditer(name))
    side = ""
    rest = []
    for word in words:
        text = word[0].lower()
        # "L5" is a vertebra, "thigh.L.001" the left thigh
        vertebra = len(text) == 1 and name[word.end() : word.end() + 1].isdigit()
        if not side and text in _SIDES and len(words) > 1 and not vertebra:
            side = _SIDES[text]
            continue
        if text in _MIDDLE and word in (words[0], words[-1]) and len(words) > 1 and not vertebra:
            continue
        if text in _FILLERS:
            continue
        for mark in ("left", "right"):  # "leftforearm", "handright"
            if not side and text != mark and (text.startswith(mark) or text.endswith(mark)):
                side = mark
                text = text.removeprefix(mark).removesuffix(mark)
        rest.append(text)
    part = "".join(rest)
    if not side and part[:1] in _SIDES and part not in _LIMB_NAMES and part[1:] in _LIMB_NAMES:
        side = _SIDES[part[0]]
        part = part[1:]
    return side, part


def without_prefix(names: list[str]) -> list[str]:
    """Remove a prefix, up to a separator, that more than half of the names share ("CC_Base_")."""
    starts: Counter[str] = Counter()
    joints = [name for name in names if not name.endswith(END_SUFFIX)]
    for name in joints:
        starts.update({name[: match.end()] for match in re.finditer(r"[ _:.\-|]+", name)})
    common = [
        start
        for start, count in starts.items()
        if count > max(0.5 * len(joints), 2) and not plain(start + "x")[0]
    ]
    longest = max(common, key=len, default="")
    return [name.removeprefix(longest) or name for name in names]


def without_suffix(names: list[str]) -> list[str]:
    """Remove a suffix, from a separator on, that more than half of the names share ("_JNT")."""
    ends = Counter(
        found[0] for name in names if (found := re.search(r"[ _:.\-|]+[A-Za-z]+$", name))
    )
    joints = [name for name in names if not name.endswith(END_SUFFIX)]
    common = [
        end
        for end, count in ends.items()
        if count > max(0.5 * len(joints), 2) and not plain("x" + end)[0] and end != END_SUFFIX
    ]
    return [
        name.removesuffix(common[0]) if common and name != common[0] else name for name in names
    ]


def match_joints(source: Source, path: Path, given: Mapping[str, str]) -> dict[str, int]:
    """Return canonical joint -> index in the source.

    ``given`` (canonical joint -> the source's name) takes precedence. Spine joints, neck, collars
    and feet may be missing.

    Raises:
        PallasError: a required joint has no match, ``given`` names a joint that does not exist, or
            a name is too long.
    """
    check_names(path, source.names)
    return _Matcher(source, path).match(given)


class _Matcher:
    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.path = path
        self.labels = [plain(name) for name in without_suffix(without_prefix(source.names))]
        self.at: dict[str, int] = {}

    def match(self, given: Mapping[str, str]) -> dict[str, int]:
        self._take(given)
        for side in ("left", "right"):
            for part, aliases in LIMB_ALIASES.items():
                found = self._named(self._aliases(part, side, aliases), side)
                if found is not None:
                    self.at.setdefault(f"{side}_{part}", found)
        for part in _REQUIRED:
            for side in ("left", "right"):
                if f"{side}_{part}" not in self.at:
                    raise self._missing(f"{side}_{part}")
            self._require_alike(part, given)
        if "pelvis" not in self.at:
            self.at["pelvis"] = self._pelvis()
        if "head" not in self.at:
            self.at["head"] = self._head()
        trunk, chest = self._trunk()
        self._place_spine(trunk, chest)
        return self.at

    def _require_alike(self, part: str, given: Mapping[str, str]) -> None:
        """Reject a joint whose two sides have different names: it is probably a mismatch (a
        "shoulder" that is a collar).
        """
        left = f"left_{part}"
        right = f"right_{part}"
        if left in given or right in given:
            return
        names = [self.labels[self.at[joint]][1] for joint in (left, right)]
        if names[0] != names[1]:
            aliases = LIMB_ALIASES[part]
            ranks = [aliases.index(name) if name in aliases else len(aliases) for name in names]
            raise self._missing(left if ranks[0] > ranks[1] else right)

    def _take(self, given: Mapping[str, str]) -> None:
        for joint, name in given.items():
            if joint not in JOINT_INDEX:
                raise PallasError(
                    f"--map: '{joint[:40]}' is not a joint of the body; its joints are"
                    f" {', '.join(JOINTS)}"
                )
            if name not in self.source.names:
                raise PallasError(
                    f"{self.path}: has no joint '{name[:40]}', which --map assigns to {joint}; it"
                    f" has {self._some()}"
                )
            self.at[joint] = self.source.names.index(name)

    def _named(self, aliases: tuple[str, ...], side: str) -> int | None:
        """Return the joint with the first alias that any unmatched joint has.

        If none has, numbers are ignored ("upperleg01", "Head1"); parents precede their children.
        """
        taken = set(self.at.values())
        numbered = [(side, part.rstrip(_DIGITS)) for side, part in self.labels]
        for labels in (self.labels, numbered):
            for alias in aliases:
                for index, label in enumerate(labels):
                    if label == (side, alias) and index not in taken:
                        return index
        return None

    def _aliases(self, part: str, side: str, aliases: tuple[str, ...]) -> tuple[str, ...]:
        """Return a limb joint's names; a "leg" is the thigh if another joint is the shin."""
        thigh_is_leg = any((side, name) in self.labels for name in _KNEES_BESIDE_LEG)
        if part == "hip" and thigh_is_leg:
            return (*aliases, "leg")
        return aliases

    def _some(self) -> str:
        names = [name for name in self.source.names if not name.endswith(END_SUFFIX)]
        return ", ".join(name[:30] for name in names[:12]) + (", …" if len(names) > 12 else "")

    def _missing(self, joint: str) -> PallasError:
        return PallasError(
            f"{self.path}: no joint of this {self.source.kind} is the {joint.replace('_', ' ')}"
            f" (it has {self._some()}); assign it with --map FILE, a YAML file of lines like"
            f" '{joint}: NAME'"
        )

    def _common(self, a: str, b: str) -> int | None:
        """Return the lowest common ancestor of two of the body's joints."""
        above = set(self.source.ancestors(self.at[a]))
        return next((j for j in self.source.ancestors(self.at[b]) if j in above), None)

    def _pelvis(self) -> int:
        """Return the joint that carries both legs, or a coincident ancestor called pelvis."""
        carrier = self._common("left_hip", "right_hip")
        if carrier is None:
            named = self._named(PELVIS, "")
            if named is None:
                raise self._missing("pelvis")
            return named
        rest = self.source.rest
        if rest is None or self.labels[carrier][1] in PELVIS:
            return carrier
        above = int(self.source.parents[carrier])
        if above >= 0 and _SPINE.fullmatch(self.labels[carrier][1]):
            return above  # 3ds Max's "triangle pelvis" links the thighs to the spine
        thigh = np.linalg.norm(rest[self.at["left_hip"]] - rest[self.at["left_knee"]])
        for joint in self.source.ancestors(carrier):
            near = np.linalg.norm(rest[joint] - rest[carrier]) < 0.2 * thigh
            if near and self.labels[joint][1] in PELVIS:
                return joint
        return carrier

    def _head(self) -> int:
        """Return the joint called head, or the last above the arms if the rig numbers it with the
        spine (Rigify).
        """
        named = self._named(("head",), "")
        if named is not None:
            return named
        chest = self._common("left_shoulder", "right_shoulder")
        above = [
            index
            for index, (side, part) in enumerate(self.labels)
            if not side and _NUMBERED.fullmatch(part) and chest in self.source.ancestors(index)[1:]
        ]
        if not above:
            raise self._missing("head")
        return max(above, key=lambda joint: len(self.source.ancestors(joint)))

    def _trunk(self) -> tuple[tuple[int, ...], int | None]:
        """Return the joints between pelvis and head in order, and the one that carries the arms."""
        if (self.source.parents < 0).all():  # points without a hierarchy
            trunk = tuple(
                index
                for index, (side, part) in enumerate(self.labels)
                if not side
                and (_SPINE.fullmatch(part) or self._is_neck(index))
                and index not in self.at.values()
            )
            spine = [index for index in trunk if not self._is_neck(index)]
            return trunk, spine[-1] if spine else None
        below = set(self.source.ancestors(self.at["pelvis"]))
        path = reversed(self.source.ancestors(self.at["head"])[1:])
        trunk = tuple(joint for joint in path if joint not in below)
        chest = self._common("left_shoulder", "right_shoulder")
        if chest in trunk and not self._is_neck(chest):
            return trunk, chest
        spine = [joint for joint in trunk if not self._is_neck(joint)]
        return trunk, spine[-1] if spine else None

    def _is_neck(self, joint: int) -> bool:
        name = self.labels[joint][1]
        if name in _NECK_OF_KINECT:
            return not any(_NECK.fullmatch(part) for _, part in self.labels)
        return _NECK.fullmatch(name) is not None

    def _place_spine(self, trunk: tuple[int, ...], chest: int | None) -> None:
        """Match neck and spine joints, as far as the rig has them.

        Of more than three spine joints the first, the last and the middle one are used; fewer are
        assigned by their position between pelvis and neck.
        """
        split = trunk.index(chest) + 1 if chest is not None else 0
        taken = set(self.at.values())
        spine = [joint for joint in trunk[:split] if joint not in taken]
        above = [joint for joint in trunk[split:] if joint not in taken]
        if "neck" not in self.at and above:
            self.at["neck"] = above[0]
        if any(name in self.at for name in SPINE_JOINTS) or not spine:
            return
        rest = self.source.rest
        # a joint coincident with the pelvis carries no information about the spine
        if rest is not None:
            length = np.linalg.norm(rest[spine[-1]] - rest[self.at["pelvis"]])
            while (
                len(spine) > 3
                and np.linalg.norm(rest[spine[0]] - rest[self.at["pelvis"]]) < 0.02 * length
            ):
                spine = spine[1:]
        if len(spine) >= 3:
            chosen = (spine[0], spine[len(spine) // 2], spine[-1])
            self.at.update(zip(SPINE_JOINTS, chosen, strict=True))
        elif len(spine) == 2:
            self.at["spine1"], self.at["spine3"] = spine
        else:
            self.at[self._only_spine(spine[0])] = spine[0]

    def _only_spine(self, joint: int) -> str:
        """Return which spine joint a rig's only one is, by its position from pelvis to neck."""
        rest = self.source.rest
        if rest is None or "neck" not in self.at:
            return "spine3"
        below = float(np.linalg.norm(rest[joint] - rest[self.at["pelvis"]]))
        above = float(np.linalg.norm(rest[self.at["neck"]] - rest[joint]))
        share = below / max(below + above, 1e-9)
        return min(SPINE_JOINTS, key=lambda name: float(abs(TRUNK_SHARES[name] - share)))


def _trunk_shares() -> dict[str, float]:
    heights = Skeleton.from_height().rest_positions[:, 2]
    pelvis = heights[JOINT_INDEX["pelvis"]]
    length = heights[JOINT_INDEX["neck"]] - pelvis
    return {name: float((heights[JOINT_INDEX[name]] - pelvis) / length) for name in SPINE_JOINTS}


TRUNK_SHARES = _trunk_shares()
"""Relative positions of the spine joints between pelvis (0) and neck (1) of the body."""
