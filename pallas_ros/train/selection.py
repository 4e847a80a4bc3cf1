"""Selection of training clips: by pack or content, or a share of the subjects."""

import hashlib

from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip


def clips_of(label: str, wanted: tuple[str, ...], clips: list[LibraryClip]) -> list[LibraryClip]:
    """Keep the clips of these packs or contents; all of them if ``wanted`` is empty.

    Args:
        label: "pack" or "content".
        wanted: the names to keep.
        clips: the clips to choose from.

    Raises:
        PallasError: no clip has one of the names.
    """
    known = {getattr(clip, label) for clip in clips}
    for name in wanted:
        if name not in known:
            raise PallasError(
                f"no training clip of the {label} '{name}' (data.{label}s): there are"
                f" {', '.join(sorted(known))}"
            )
    return [clip for clip in clips if not wanted or getattr(clip, label) in wanted]


def part_of(clips: list[LibraryClip], share: float) -> list[LibraryClip]:
    """Keep whole subjects until they have ``share`` of the duration.

    The order of the subjects depends on their names, so a smaller share is a subset of a larger
    one.
    """
    if share >= 1:
        return clips
    seconds: dict[str, float] = {}
    for clip in clips:
        subject = _subject(clip)
        seconds[subject] = seconds.get(subject, 0.0) + clip.seconds
    kept: set[str] = set()
    total = 0.0
    for subject in sorted(seconds, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if total >= share * sum(seconds.values()):
            break
        kept.add(subject)
        total += seconds[subject]
    return [clip for clip in clips if _subject(clip) in kept]


def _subject(clip: LibraryClip) -> str:
    return f"{clip.pack}/{clip.subject or clip.name}"
