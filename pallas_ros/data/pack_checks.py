"""Checks of the arrays of a motion pack before they are used."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

Arrays = dict[str, NDArray[Any]]

HIGHEST_FPS = 1000.0
NUMBERS = "iuf"
WHOLE = "iu"
WORDS = "US"
ANY = NUMBERS + WORDS
_KINDS = {NUMBERS: "numbers", WHOLE: "whole numbers", WORDS: "text", ANY: "numbers or text"}


def check_pack(path: Path, arrays: Arrays) -> None:
    """Check the types, shapes and values of the arrays of a pack.

    Raises:
        PallasError: one sentence that names the file, the array and, if possible, the clip.
    """
    joints = len(np.atleast_1d(arrays["joint_names"]))
    clips = len(np.atleast_1d(arrays["clip"]))
    frames = len(np.atleast_1d(arrays["quat_xyz"]))
    if not (joints and clips and frames):
        raise PallasError(f"{path}: the pack contains no clip, no frame or no joint")
    expected: tuple[tuple[str, str, list[tuple[int, ...]]], ...] = (
        ("joint_names", WORDS, [(joints,)]),
        ("clip", WORDS, [(clips,)]),
        ("parents", WHOLE, [(joints,)]),
        ("fps", NUMBERS, [(), (1,)]),
        ("quat_xyz", WHOLE, [(frames, joints, 3)]),
        ("translation_cm", NUMBERS, [(frames, 3), (frames, 2, 3)]),
        ("offsets_cm", NUMBERS, [(joints, 3), (clips, joints, 3)]),
        ("content", ANY, [(clips,)]),
        ("start", WHOLE, [(clips,)]),
        ("length", WHOLE, [(clips,)]),
        ("tpose_quat_xyz", WHOLE, [(joints, 3)]),
        ("subject", ANY, [(clips,)]),
        ("style", ANY, [(clips,)]),
        ("native_hz", NUMBERS, [(clips,)]),
    )
    for key, kind, shapes in expected:
        if key in arrays:
            _check_array(path, key, arrays[key], kind, shapes)
    _check_parents(path, arrays)
    fps = float(arrays["fps"].reshape(-1)[0])
    if not 0 < fps <= HIGHEST_FPS:
        raise PallasError(f"{path}: 'fps' is {fps:g}, must be above 0 and at most {HIGHEST_FPS:g}")
    _check_clips(path, arrays, frames)
    _check_finite(path, arrays)


def _check_array(
    path: Path, key: str, array: NDArray[Any], kind: str, shapes: list[tuple[int, ...]]
) -> None:
    if array.dtype.kind not in kind:
        raise PallasError(f"{path}: '{key}' is of type {array.dtype}, must be {_KINDS[kind]}")
    if array.shape not in shapes:
        expected = " or ".join(str(shape) for shape in shapes)
        raise PallasError(f"{path}: '{key}' has shape {array.shape}, must be {expected}")


def _check_parents(path: Path, arrays: Arrays) -> None:
    for joint, parent in enumerate(arrays["parents"].tolist()):
        if not -1 <= parent < joint:
            name = str(arrays["joint_names"][joint])[:40]
            raise PallasError(
                f"{path}: 'parents' of joint {joint} ('{name}') is {parent}, must be -1 or the"
                " number of an earlier joint"
            )


def _check_clips(path: Path, arrays: Arrays, frames: int) -> None:
    rows = (arrays[key].tolist() for key in ("clip", "start", "length"))
    for name, start, length in zip(*rows, strict=True):
        if length < 4 or start < 0 or start + length > frames:
            raise PallasError(
                f"{path}: clip '{str(name)[:40]}' has {length} frames from frame {start} on, of "
                f"{frames} in the pack; a clip needs at least 4, so drop it or correct its range"
            )


def _check_finite(path: Path, arrays: Arrays) -> None:
    if not np.isfinite(arrays["offsets_cm"]).all():
        raise PallasError(f"{path}: 'offsets_cm' contains NaN or infinite values")
    path_cm = arrays["translation_cm"]
    bad = np.flatnonzero(~np.isfinite(path_cm.reshape(len(path_cm), -1)).all(axis=-1))
    if len(bad):
        raise PallasError(
            f"{path}: 'translation_cm' contains NaN or infinite values{_clip_at(arrays, bad[0])};"
            " repair or drop those frames"
        )
    rates = arrays.get("native_hz", np.ones(1))
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates > 0)))
    if len(bad):
        name = str(arrays["clip"][bad[0]])[:40]
        raise PallasError(
            f"{path}: 'native_hz' of clip '{name}' is {rates[bad[0]]:g}, must be a finite number"
            " above 0"
        )


def _clip_at(arrays: Arrays, frame: int) -> str:
    """The clip that contains a frame, for a message."""
    inside = (arrays["start"] <= frame) & (frame < arrays["start"] + arrays["length"])
    found = np.flatnonzero(inside)
    return f" in clip '{str(arrays['clip'][found[0]])[:40]}'" if len(found) else ""
