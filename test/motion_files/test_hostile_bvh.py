"""BVH files modified by editors, other locales and damaged disks: they are read, or rejected with
one sentence.
"""

import contextlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rigs
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.motion_files import Overrides, read

_WALK = rigs.known_motion()
MOTION = Motion(30.0, _WALK.positions[40:52], _WALK.rotations[40:52])
FRAMES = len(MOTION)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("good") / "m.bvh"
    rigs.render(path, rigs.RIGS["motionbuilder"], MOTION)
    return path.read_text()


def header(text: str, key: str, value: str) -> str:
    """Return the text with a modified line of its motion header."""
    lines = text.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith(key))
    lines[index] = f"{key} {value}"
    return "\n".join(lines) + "\n"


READ: dict[str, Callable[[str], str]] = {
    "windows line ends": lambda t: t.replace("\n", "\r\n"),
    "old mac line ends": lambda t: t.replace("\n", "\r"),
    "byte order mark": lambda t: "\ufeff" + t,
    "comments": lambda t: "# made by hand\n" + t.replace("MOTION", "// rows\nMOTION") + "# end\n",
    "tabs": lambda t: t.replace(" ", "\t").replace("Frame\tTime:", "Frame Time:"),
    "indented": lambda t: "\n".join("   " + line + "  " for line in t.splitlines()),
    "blank lines": lambda t: t.replace("\n", "\n\n"),
    "braces on the same line": lambda t: t.replace("\n{", " {").replace("}\n}", "} }"),
    "lower case": lambda t: t.replace("JOINT", "Joint").replace("CHANNELS", "Channels"),
    "upper case channels": lambda t: t.replace("rotation", "ROTATION"),
    "decimal commas": lambda t: t.replace(".", ","),
    "fewer frames announced": lambda t: header(t, "Frames:", "2"),
    "more frames announced": lambda t: header(t, "Frames:", str(FRAMES + 40)),
    "a huge number announced": lambda t: header(t, "Frames:", "99999999999999999999999999"),
    "a number of frames that is none": lambda t: header(t, "Frames:", "many"),
    "a frame on several lines": lambda t: (
        t[: t.index("Frame Time")] + t[t.index("Frame Time") :].replace(" 0.000000", "\n0.000000")
    ),
    "control-Z at the end": lambda t: t + "\x1a",
    "no space after the colon": lambda t: t.replace("Frames: ", "Frames:"),
    "no colon": lambda t: t.replace("Frames:", "Frames").replace("Frame Time:", "Frame Time"),
    "another spelling of frame time": lambda t: t.replace("Frame Time:", "FrameTime :"),
    "frame time first": lambda t: re.sub(r"(Frames: .*\n)(Frame Time: .*\n)", r"\2\1", t),
    "another spelling of end site": lambda t: t.replace("End Site", "EndSite"),
    "wrong number of channels": lambda t: t.replace("CHANNELS 3", "CHANNELS 9999999"),
}


@pytest.mark.parametrize("name", READ)
def test_files_that_differ_in_form_only_are_read(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    path.write_text(READ[name](text), encoding="utf-8", newline="")
    motion = read(path, Overrides(fps=MOTION.fps)).motion
    np.testing.assert_allclose(motion.positions, MOTION.positions, atol=1e-4)


def test_utf_16_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    path.write_text(text, encoding="utf-16")
    np.testing.assert_allclose(read(path).motion.positions, MOTION.positions, atol=1e-4)


def test_what_the_header_promised_is_reported(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    path.write_text(header(text, "Frames:", "60"))
    assert f"announces 60 frames, but it contains {FRAMES}" in read(path).found
    path.write_text(text[: len(text) - 40])
    file = read(path)
    assert len(file.motion) == FRAMES - 1
    assert "last frame is truncated" in file.found


def test_one_frame_is_a_motion(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    lines = text.splitlines()
    path.write_text("\n".join(lines[: len(lines) - FRAMES + 1]) + "\n")
    motion = read(path).motion
    np.testing.assert_allclose(motion.positions, MOTION.positions[:1], atol=1e-4)


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "frame time 0": (lambda t: header(t, "Frame Time:", "0"), "0 frames per second.*--fps"),
    "frame time negative": (lambda t: header(t, "Frame Time:", "-1"), "frames per second.*--fps"),
    "frame time nan": (lambda t: header(t, "Frame Time:", "nan"), "frames per second.*--fps"),
    "frame time missing": (lambda t: header(t, "Frame Time:", ""), "frames per second.*--fps"),
    "frame time tiny": (lambda t: header(t, "Frame Time:", "1e-30"), "frames per second.*--fps"),
    "no frames": (lambda t: t[: t.index("Frame Time")] + "Frame Time: 0.1\n", "contains no frame"),
    "cut in the hierarchy": (lambda t: t[: t.index("MOTION")], "ends before MOTION"),
    "cut at MOTION": (lambda t: t[: t.index("Frames")], "ends before 'Frame Time:'"),
    "a brace too few": (lambda t: t.replace("}\n", "\n", 1), "brace is missing"),
    "a brace too many": (lambda t: t.replace("}\n", "}\n}\n"), "brace closes"),
    "a number too many": (lambda t: t.rstrip() + " 1 2 3\n", "a frame of .* numbers"),
    "a word": (lambda t: t.rstrip()[:-8] + "oops\n", "not a row of numbers"),
    "nan": (lambda t: t.rstrip()[:-8] + "nan\n", "NaN or infinite.*frame 1"),
    "infinite": (lambda t: t.rstrip()[:-8] + "1e999\n", "NaN or infinite.*frame"),
    "a giant number": (lambda t: t.rstrip()[:-8] + "1e30\n", "beyond 1e9"),
    "no channel": (lambda t: t.replace("Zrotation", "Wrotation"), "'Wrotation' is not a channel"),
    "channels twice": (
        lambda t: t.replace(
            "CHANNELS 3", "CHANNELS 3 Xrotation Yrotation Zrotation\nCHANNELS 3", 1
        ),
        "has channels twice",
    ),
    "an offset of two": (lambda t: t.replace("OFFSET 0 0 0", "OFFSET 0 0"), "is not 3 numbers"),
    "no offsets": (lambda t: _without_offsets(t), "limbs have no length"),
    "too many joints": (
        lambda t: "HIERARCHY\nROOT a\n{\n" + "JOINT b\n{\n" * 5000,
        "more than 2000 joints",
    ),
    "a long name": (lambda t: _named(t, "a_" * 100_000), "a joint's name of 200000 characters"),
    "a long name of signs": (
        lambda t: _named(t, "_" * 100_000 + "1"),
        "a joint's name of 100001 characters",
    ),
    "a long name with end sites": (
        lambda t: f"HIERARCHY\nROOT {'a' * 201}\n{{\n" + "End Site\n{\n}\n" * 50,
        "a joint's name of 201 characters",
    ),
    "binary": (lambda t: "\x00\x01\x02" * 500, "not a readable BVH"),
    "empty": (lambda t: "", "not a readable BVH"),
}


def _named(text: str, name: str) -> str:
    return re.sub(r"ROOT \S+", f"ROOT {name}", text)


def _without_offsets(text: str) -> str:
    lines = text.splitlines()
    lines = ["OFFSET 0 0 0" if "OFFSET" in line else line for line in lines]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_read_are_refused_with_one_sentence(
    name: str, text: str, tmp_path: Path
) -> None:
    change, says = REFUSED[name]
    path = tmp_path / "bad.bvh"
    path.write_text(change(text))
    with pytest.raises(PallasError, match=says) as refused:
        read(path)
    assert "bad.bvh" in str(refused.value)
    assert "\n" not in str(refused.value)


@settings(max_examples=60)
@given(data=st.data())
def test_no_change_of_bytes_raises_anything_else(data: st.DataObject, text: str) -> None:
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.bvh"
        path.write_bytes(raw)
        with contextlib.suppress(PallasError):
            motion = read(path).motion
            assert np.isfinite(motion.positions).all()
            assert np.isfinite(motion.rotations).all()
