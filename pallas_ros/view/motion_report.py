"""Self-contained HTML report of a motion file."""

from html import escape
from pathlib import Path

import numpy as np

from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.origin import REQUEST, Origin
from pallas_ros.files.writing import save_text
from pallas_ros.view import svg
from pallas_ros.view.generated import generated_table
from pallas_ros.view.moments import MotionFile
from pallas_ros.view.page import Written, page_of
from pallas_ros.view.report import pictures

_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]


def write_motion_report(path: str | Path, page: str | Path, film: bool = True) -> Written:
    """Read a motion file of any known format and write its report atomically.

    Raises:
        PallasError: the file is not a motion file, or the page cannot be written.
    """
    path = Path(path)
    recording = MotionFile(path)
    motion = recording.motion
    origin = Origin.of(motion.extra)
    generated = ""
    if origin is not None:
        request, rest = origin.lines()
        generated = generated_table([(0.0, request.removeprefix(REQUEST), rest)])
    times = np.arange(len(motion)) / motion.fps
    wrists = svg.lines(times, motion.positions[:, _WRISTS, 2], ("left", "right"), "m")
    facts = f"{motion.duration:.1f} s, {motion.fps:g} frames a second"
    parts = [
        f'<h1>{escape(path.name)}</h1><p class="dim">{facts}; {escape(recording.found)}</p>',
        generated,
        pictures(recording, None, 0.0, motion.duration, film),
        f'<h2>Height of the wrists</h2><div style="max-width:560px">{wrists}</div>',
    ]
    save_text(Path(page), page_of(f"Motion {path.name}", "".join(parts)))
    return Written(Path(page), {"duration_s": motion.duration})
