"""Skeleton strips for visual inspection: twelve instants of each clip, the true body grey and the
estimate coloured (left red, right blue).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import SensorErrors, joint_positions
from pallas_ros.train.inputs import SHORTEST_FRAMES, real_inputs, sensed
from pallas_ros.train.measures import LEGS, UPPER, Method

MOMENTS = 12
GAP_M = 1.3


def _draw(
    axes: Any, p: NDArray[np.floating[Any]], x: float, colour: str | None, width: float
) -> None:
    """Draw a body (22, 3) m in three-quarter view; ``colour`` None: by side."""
    flat = np.stack((0.6 * p[:, 0] - 0.8 * p[:, 1] + x, p[:, 2] + 0.1 * p[:, 0]), axis=-1)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            side = (
                {"l": "tab:red", "r": "tab:blue"}
                if JOINTS[joint].startswith(("left", "right"))
                else {}
            )
            axes.plot(
                *flat[[joint, parent]].T,
                color=colour or side.get(JOINTS[joint][0], "k"),
                lw=width,
                solid_capstyle="round",
            )


def chosen(library: MotionLibrary) -> list[LibraryClip]:
    """At most twelve clips not used for training: one per subject, or per content; clips that are
    too short to be measured are left out.
    """
    by_name: dict[str, list[LibraryClip]] = {}
    for clip in _long_enough(library.select("unseen_subjects")):
        by_name.setdefault(clip.subject.zfill(3), []).append(clip)
    if not by_name:
        for clip in _long_enough(library.select("unseen")):
            by_name.setdefault(clip.content, []).append(clip)
    # the middle clip of each, to avoid the first and the last trial
    return [clips[len(clips) // 2] for _, clips in sorted(by_name.items())][:12]


def _long_enough(clips: list[LibraryClip]) -> list[LibraryClip]:
    return [clip for clip in clips if clip.stop - clip.start > SHORTEST_FRAMES]


def strips(library: MotionLibrary, recording: Path, method: Method, path: Path) -> None:
    """Write the picture: one clip per unseen subject (or content), and the real recording."""
    import matplotlib.pyplot as plt

    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
    clips = chosen(library)
    count = len(clips) + 1
    figure, grid = plt.subplots(count, 1, figsize=(16, 2.2 * count), squeeze=False)
    rows = grid[:, 0]
    with torch.inference_mode():
        for axes, clip in zip(rows[:-1], clips, strict=True):
            ((_, sequence, lengths),) = sensed(library, [clip], SensorErrors())
            p = joint_positions(method(sequence.imu).rotations, offsets)[0]
            truth = joint_positions(sequence.rotations, offsets)[0]
            error = 100 * (p - truth).norm(dim=-1)
            for i, frame in enumerate(np.linspace(5, lengths[0] - 5, MOMENTS).astype(int)):
                _draw(axes, truth[frame].numpy(), i * GAP_M, "0.7", 4)
                _draw(axes, p[frame].numpy(), i * GAP_M, None, 1.5)
            axes.set_title(
                f"{clip.name} ({clip.content}): upper body {error[:, UPPER].mean():.1f} cm, legs"
                f" {error[:, LEGS].mean():.1f} cm",
                fontsize=9,
            )
        imu, _, _ = real_inputs(recording)
        p = joint_positions(method(imu).rotations, offsets)[0]
        for i, frame in enumerate(np.linspace(30, len(p) - 10, MOMENTS).astype(int)):
            _draw(rows[-1], p[frame].numpy(), i * GAP_M, None, 1.5)
        rows[-1].set_title("real recording (no ground truth)", fontsize=9)
    for axes in rows:
        axes.set_aspect("equal")
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    plt.close(figure)
