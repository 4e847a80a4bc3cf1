"""Under which licence weights may be used, by the motion packs they were trained on."""

from collections.abc import Iterable, Mapping
from typing import Any

PERMISSIVE_PACKS = ("cmu_actions", "cmu_full")
"""Packs that are free for any use, products included."""
PERMISSIVE = "Apache-2.0 (trained on the CMU Graphics Lab Motion Capture Database alone)"
NON_COMMERCIAL = "CC BY-NC 4.0 (trained on the Bandai-Namco Research Motiondataset)"
UNKNOWN = "licence of the training data"


def licence_in(document: Mapping[str, Any]) -> str:
    """The licence that the metadata of weights state, or that follows from what they were trained
    on; weights of before packs could be named were trained on all of them.
    """
    packs = document.get("training", {}).get("packs", ["bandai_namco"])
    return str(document.get("licence") or licence_of(packs))


def licence_of(packs: Iterable[str]) -> str:
    """The licence of weights trained on these packs; no pack is a training nobody described."""
    named = set(packs)
    if named and named <= set(PERMISSIVE_PACKS):
        return PERMISSIVE
    return NON_COMMERCIAL if "bandai_namco" in named else UNKNOWN


def stricter(first: str, second: str) -> str:
    """The licence of weights that were trained further: both those of the start and of the data.

    Two licences that are not the same, and neither of them non-commercial, give an unknown one.
    """
    if first == second:
        return first
    return NON_COMMERCIAL if NON_COMMERCIAL in (first, second) else UNKNOWN
