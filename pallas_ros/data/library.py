"""The motion library: all clips in a few flat arrays, imported once and cached in the user's cache
folder.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.body.resources import cache_folder
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.files import FILES, read_folder
from pallas_ros.data.pack_skeletons import ALIGNMENTS
from pallas_ros.data.packs import PACKS, PackClip, import_packs
from pallas_ros.data.splits import DEVELOPMENT_CONTENTS, SPLITS, split_of
from pallas_ros.motion_files import Overrides

CACHE_VERSION = 3


@dataclass(frozen=True)
class LibraryClip:
    """Labels of a clip, and its frames ``[start, stop)`` in the arrays of the library."""

    pack: str
    name: str
    content: str
    style: str
    split: str
    start: int
    stop: int
    subject: str = ""

    @property
    def seconds(self) -> float:
        """Duration in s."""
        return (self.stop - self.start) / MODEL_RATE_HZ


@dataclass(frozen=True)
class MotionLibrary:
    """Canonical motion at 60 Hz, default skeleton, memory-mapped.

    Attributes:
        clips: labels and frame ranges.
        rotations: (N, 22, 4) int16, global orientations xyzw times 32767.
        root: (N, 3) float32, pelvis in the world, m.
        contacts: (N, 2) bool, contact of left and right foot.
    """

    clips: tuple[LibraryClip, ...]
    rotations: NDArray[np.int16]
    root: NDArray[np.float32]
    contacts: NDArray[np.bool_]

    @property
    def is_of_files(self) -> bool:
        """Whether the clips come from a folder of motion files instead of packs."""
        return all(clip.pack == FILES for clip in self.clips)

    def select(self, split: str, *, development: bool | None = None) -> list[LibraryClip]:
        """The clips of a split.

        Args:
            split: ``train``, ``validation``, ``seen``, ``unseen`` and so on (`splits.SPLITS`).
            development: True for only the contents of `DEVELOPMENT_CONTENTS`, False for all others,
                None for both.

        Raises:
            PallasError: the split is unknown.
        """
        if split not in SPLITS:
            raise PallasError(f"unknown split '{split}': known are {', '.join(SPLITS)}")
        return [
            c
            for c in self.clips
            if c.split == split
            and (development is None or (c.content in DEVELOPMENT_CONTENTS) is development)
        ]

    def require(self, split: str, *, development: bool | None = None) -> list[LibraryClip]:
        """Like `select`, but at least one clip is required.

        Raises:
            PallasError: there is no such clip.
        """
        chosen = self.select(split, development=development)
        if not chosen:
            raise PallasError(
                f"of {len(self.clips)} motion clips none is for '{split}': names decide, and about"
                " one in ten goes to each of 'seen' and 'validation'; give more files"
            )
        return chosen

    def quaternions(self, clip: LibraryClip) -> NDArray[np.float32]:
        """(T, 22, 4) float32, global orientations of a clip."""
        q = self.rotations[clip.start : clip.stop].astype(np.float32)
        return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True), dtype=np.float32)

    def motion(self, clip: LibraryClip, skeleton: Skeleton | None = None) -> Motion:
        """A clip as a `Motion` of the default skeleton, or of another one, with the path scaled by
        its height.
        """
        skeleton = skeleton or Skeleton.from_height()
        q = self.quaternions(clip).astype(np.float64)
        scale = skeleton.height / Skeleton.from_height().height
        positions = forward_kinematics(
            skeleton, q, self.root[clip.start : clip.stop].astype(np.float64) * scale
        )
        return Motion(
            MODEL_RATE_HZ,
            np.asarray(positions, np.float64),
            q,
            extra={"contacts": np.asarray(self.contacts[clip.start : clip.stop])},
        )

    @classmethod
    def open(
        cls,
        folder: str | Path,
        cache: str | Path | None = None,
        overrides: Overrides | None = None,
        *,
        alignment: str = "straight",
    ) -> "MotionLibrary":
        """Open the packs in ``folder``; they are imported on first use (ten seconds) and cached in
        ``cache`` (default: the user's cache folder).

        If a folder contains no packs, its motion files (BVH, AMASS and others) are read with
        ``overrides``. ``alignment`` selects the rotations of the packs' segments
        (`pack_skeletons.ALIGNMENTS`).

        Raises:
            PallasError: the folder contains no motion, or a file is corrupt.
        """
        folder = Path(folder)
        present = [pack for pack in PACKS if (folder / f"{pack}.npz").is_file()]
        if not present:
            return cls.from_clips(read_folder(folder, overrides))
        stamp = [
            (p, (folder / f"{p}.npz").stat().st_size, (folder / f"{p}.npz").stat().st_mtime_ns)
            for p in present
        ]
        facts = json.dumps([CACHE_VERSION, ALIGNMENTS[alignment], stamp])
        key = hashlib.sha256(facts.encode()).hexdigest()[:16]
        target = Path(cache or cache_folder()) / f"library-{key}"
        if not (target / "clips.json").is_file():
            _import(folder, present, target, alignment)
        clips = tuple(LibraryClip(**row) for row in json.loads((target / "clips.json").read_text()))
        arrays = {
            name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("rotations", "root", "contacts")
        }
        return cls(clips, arrays["rotations"], arrays["root"], arrays["contacts"])

    @classmethod
    def from_clips(cls, clips: list[PackClip]) -> "MotionLibrary":
        """Make a library in memory from arbitrary clips (of a user's BVH or AMASS folders).

        Their split is determined by their name.

        Raises:
            PallasError: there is no clip.
        """
        rows = []
        start = 0
        for clip in clips:
            stop = start + len(clip.motion)
            rows.append(
                LibraryClip(
                    clip.pack,
                    clip.name,
                    clip.content,
                    clip.style,
                    split_of(clip.pack, clip.name, clip.content, clip.subject),
                    start,
                    stop,
                    clip.subject,
                )
            )
            start = stop
        if not rows:
            raise PallasError("no motion clip was found: give a folder that contains some")
        return cls(
            tuple(rows),
            np.concatenate([np.round(c.motion.rotations * 32767).astype(np.int16) for c in clips]),
            np.concatenate([c.motion.positions[:, 0].astype(np.float32) for c in clips]),
            np.concatenate([(c.motion.extra or {})["contacts"] for c in clips]),
        )


def _import(folder: Path, packs: list[str], target: Path, alignment: str) -> None:
    """Read the packs and write the cache atomically."""
    library = MotionLibrary.from_clips(import_packs(folder, packs, alignment=alignment))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        staged = Path(temporary) / "library"
        staged.mkdir()
        for name in ("rotations", "root", "contacts"):
            np.save(staged / f"{name}.npy", getattr(library, name), allow_pickle=False)
        (staged / "clips.json").write_text(json.dumps([asdict(clip) for clip in library.clips]))
        try:
            staged.rename(target)
        except OSError:  # another process was first
            if not (target / "clips.json").is_file():
                raise
