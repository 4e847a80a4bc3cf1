"""Explicit features of a description: side, body part, count, direction; and its mirror image.

Sentence encoders hardly distinguish left and right ("raises the left hand" and "raises the right
hand" have a cosine similarity of 0.98 in MiniLM), so models get these features in addition to the
sentence vector.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PARTS: Final = {
    "arm": r"arms?|hands?|wrists?|elbows?|shoulders?|fists?|fingers?|palms?|punch\w*"
    r"|wav(?:e|es|ing)|(?:upper)?cuts?|hooks?|jabs?",
    "leg": r"legs?|foot|feet|knees?|ankles?|thighs?|toes?|hips?|kick\w*|hop\w*",
    "head": r"heads?|neck|chin|face",
    "trunk": r"torso|trunk|waist|back|chest|spine|bend\w*|bow\w*",
}
_DIRECTIONS: Final = {
    "forward": r"forwards?|ahead|straight|frontal|front",
    "backward": r"backwards?|back|bkwd|bwk|reverse",
    "sideways": r"side(?:ways?|steps?|stepping)?|lateral\w*",
    "up": r"up|upwards?|rais\w*|lift\w*|reach\w*|stand(?:s|ing)? up|climb\w*|overhead|above",
    "down": r"down|downwards?|lower\w*|crouch\w*|squat\w*|sit\w*|duck\w*|kneel\w*|ground",
    "turn": r"turn\w*|spin\w*|rotat\w*|veer\w*|pivot\w*|twist\w*|whirl\w*|circles?|degrees?",
}
_NUMBERS: Final = {"once": 1, "one": 1, "twice": 2, "two": 2, "three": 3, "four": 4, "five": 5}
_SIDED: Final = ("arm", "leg")

FEATURES: Final = (
    *(f"{side}_{part}" for part in (*_SIDED, "way") for side in ("left", "right", "both")),
    *_PARTS,
    *_DIRECTIONS,
    "once",
    "twice",
    "three_times",
    "more_times",
    "slow",
    "fast",
)
"""Names of the values of `explicit_features`; a ``way`` is a turn or a path, not a limb."""

_WORD = re.compile(r"[a-z]+|\d+")
_SWAP = re.compile(
    r"(?<![a-z])(left|right)(?![a-z])|(?:(anti|counter)[- ]*)?clockwise", re.IGNORECASE
)
_COUNT = re.compile(
    r"\b(once|twice|one|two|three|four|five|\d)\b(?= *(times?|steps?|jumps?|hops?|squats?|laps?|$))"
    r"|\b(once|twice)\b"
)


def explicit_features(text: str) -> NDArray[np.float32]:
    """Side, body part, direction, count and pace in a text: (len(FEATURES),) values of 0 or 1."""
    found = set(_sides(words := _words(text)))
    joined = " ".join(words)
    for name, pattern in (_PARTS | _DIRECTIONS).items():
        if re.search(rf"\b(?:{pattern})\b", joined):
            found.add(name)
    found |= _counts(joined)
    if re.search(r"\b(slow\w*|careful\w*|cautious\w*)\b", joined):
        found.add("slow")
    if re.search(r"\b(fast\w*|quick\w*|brisk\w*|run\w*|rush\w*|dash\w*)\b", joined):
        found.add("fast")
    return np.array([name in found for name in FEATURES], np.float32)


def encode_features(texts: list[str]) -> NDArray[np.float32]:
    """`explicit_features` of several texts (N, len(FEATURES))."""
    rows = [explicit_features(text) for text in texts]
    return np.array(rows, np.float32).reshape(len(texts), len(FEATURES))


def has_side(text: str) -> bool:
    """Whether `mirror` changes the text."""
    return mirror(text) != text


def mirror(text: str) -> str:
    """The text for the mirrored motion: left and right, clockwise and counterclockwise swapped."""
    return _SWAP.sub(_swapped, text)


def _swapped(match: re.Match[str]) -> str:
    word = match.group()
    if match.group(1) is None:
        return "clockwise" if match.group(2) else "counterclockwise"
    other = {"left": "right", "right": "left"}[word.lower()]
    if word.isupper():
        return other.upper()
    return other.title() if word[0].isupper() else other


def _words(text: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # CamelCase
    return _WORD.findall(apart.lower())


def _sides(words: list[str]) -> set[str]:
    """Each side with the limb that it refers to (named after or before it), otherwise the way."""
    found = set()
    for i, word in enumerate(words):
        side = word if word in ("left", "right", "both") else None
        if side is None:
            continue
        limb = _limb(words[i + 1 : i + 4]) or ("" if "to" in words[max(0, i - 2) : i] else None)
        if limb is None:
            limb = _limb(words[max(0, i - 3) : i][::-1])
        found.add(f"{side}_{limb or 'way'}")
    return found


def _limb(words: list[str]) -> str | None:
    for word in words:
        if re.fullmatch(r"left|right|then|turn\w*|walk\w*|run\w*|step\w*", word):
            return None
        for part in _SIDED:
            if re.fullmatch(_PARTS[part], word):
                return part
    return None


def _counts(text: str) -> set[str]:
    names = set()
    for match in _COUNT.finditer(text):
        word = match.group(1) or match.group(3)
        number = int(word) if word.isdigit() else _NUMBERS[word]
        if number > 0:
            names.add(("once", "twice", "three_times", "more_times")[min(number, 4) - 1])
    return names
