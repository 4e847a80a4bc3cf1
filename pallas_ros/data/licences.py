"""Licence of weights, derived from the motion packs that they were trained on."""

from collections.abc import Iterable, Mapping
from typing import Any

PERMISSIVE_PACKS = ("cmu_actions", "cmu_full")
"""Packs that are free for any use, including products."""
PERMISSIVE = "Apache-2.0 (trained on the CMU Graphics Lab Motion Capture Database alone)"
NON_COMMERCIAL = "CC BY-NC 4.0 (trained on the Bandai-Namco Research Motiondataset)"
UNKNOWN = "licence of the training data"


def licence_in(document: Mapping[str, Any]) -> str:
    """The licence in the metadata of weights, or the one derived from their training packs.

    Older weights, without a list of packs, were trained on all of them.
    """
    packs = document.get("training", {}).get("packs", ["bandai_namco"])
    return str(document.get("licence") or licence_of(packs))


def licence_of(packs: Iterable[str]) -> str:
    """The licence of weights trained on these packs; unknown if there are none."""
    named = set(packs)
    if named and named <= set(PERMISSIVE_PACKS):
        return PERMISSIVE
    return NON_COMMERCIAL if "bandai_namco" in named else UNKNOWN


def stricter(first: str, second: str) -> str:
    """The licence of fine-tuned weights, from those of the initial weights and of the data.

    Two different licences, neither of them non-commercial, give an unknown one.
    """
    if first == second:
        return first
    return NON_COMMERCIAL if NON_COMMERCIAL in (first, second) else UNKNOWN
