"""Which clip serves what: the splits of the data's README, written here and nowhere else."""

import zlib
from typing import Final

SPLITS: Final = ("train", "validation", "seen", "unseen")

UNSEEN_CONTENTS: Final = {
    "bandai_namco": frozenset(
        {"bow", "guide", "respond", "call", "dance-short", "convert", "punch", "slash"}
    ),
    "cmu_actions": frozenset({"soccer", "directing_traffic", "washwindow"}),
}
"""Contents that no training and no choice of a setting ever sees, by pack."""

DEVELOPMENT_CONTENTS: Final = frozenset({"kick", "byebye", "basketball"})
"""Contents of the training split that are kept out of training to judge generalisation while developing, without touching ``unseen``."""


def split_of(pack: str, clip: str, content: str) -> str:
    """The split of a clip: one of `SPLITS`."""
    if content in UNSEEN_CONTENTS.get(pack, frozenset()) or clip.startswith("test__"):
        return "unseen"
    return {0: "seen", 1: "validation"}.get(zlib.crc32(clip.encode()) % 10, "train")
