"""Assignment of clips to splits, as described in the README of the data; defined only here."""

import zlib
from typing import Final

SPLITS: Final = (
    "train",
    "validation",
    "seen",
    "unseen",
    "validation_subjects",
    "unseen_subjects",
)

UNSEEN_CONTENTS: Final = {
    "bandai_namco": frozenset(
        {"bow", "guide", "respond", "call", "dance-short", "convert", "punch", "slash"}
    ),
    "cmu_actions": frozenset({"soccer", "directing_traffic", "washwindow"}),
}
"""Contents that are never used for training or for choosing settings, by pack."""

DEVELOPMENT_CONTENTS: Final = frozenset({"kick", "byebye", "basketball"})
"""Contents of the training split that are held out to evaluate generalisation during development,
without using ``unseen``.
"""


UNSEEN_SUBJECTS: Final = frozenset(
    {"40", "41", "63", "64", "81", "82", "86", "113", "114", "125", "126", "135"}
)
"""Subjects of ``cmu_full`` that are never used for training or for choosing settings."""

VALIDATION_SUBJECTS: Final = frozenset({"15", "29", "39", "70", "93", "118", "120", "127", "140"})
"""Subjects of ``cmu_full`` that are not used for training but for choosing settings: everyday
activities, recreation and pantomime, climbing, carrying a suitcase, dance, jumps, walks, obstacles,
getting up from the ground (30 minutes).
"""


def split_of(pack: str, clip: str, content: str, subject: str = "") -> str:
    """The split of a clip: one of `SPLITS`."""
    if pack == "cmu_full" and subject in UNSEEN_SUBJECTS:
        return "unseen_subjects"
    if pack == "cmu_full" and subject in VALIDATION_SUBJECTS:
        return "validation_subjects"
    if content in UNSEEN_CONTENTS.get(pack, frozenset()) or clip.startswith("test__"):
        return "unseen"
    return {0: "seen", 1: "validation"}.get(zlib.crc32(clip.encode()) % 10, "train")
