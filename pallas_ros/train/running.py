"""Error in continuous operation: clips chained to half an hour."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, joint_positions, sense
from pallas_ros.geometry import rotations
from pallas_ros.train.measures import LEGS, UPPER, ClipFigures, Method, bootstrap, figure_row

CHAIN_MINUTES = (1, 5, 30)
BLEND_FRAMES = 30
SHORTEST_CHAINED_FRAMES = 2 * BLEND_FRAMES
"""Clips have to be longer than this to be chained."""


def chain(
    library: MotionLibrary,
    clips: list[LibraryClip],
    frames: int,
    rng: np.random.Generator,
    blend: int = BLEND_FRAMES,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Chain clips in random order, repeatedly: each is rotated and placed where the previous one
    ends, with half a second of blending.

    Returns:
        Orientations (T, 22, 4) xyzw, path (T, 3) m of the pelvis, contacts (T, 2), and the clip
        index of each frame (T,).

    Raises:
        PallasError: no clip is longer than both blends.
    """
    if not any(clip.stop - clip.start > 2 * blend for clip in clips):
        raise PallasError(f"no clip of more than {2 * blend} frames can be chained")
    q_parts = []
    root_parts = []
    contact_parts = []
    have = 0
    clip_parts: list[Tensor] = []
    q_last = root_last = None
    while have < frames:
        clip = clips[rng.integers(len(clips))]
        q = torch.from_numpy(library.quaternions(clip))
        root = torch.from_numpy(np.array(library.root[clip.start : clip.stop]))
        contacts = torch.from_numpy(np.array(library.contacts[clip.start : clip.stop]))
        if len(q) <= 2 * blend:
            continue
        if q_last is not None and root_last is not None:
            turn = rotations.about_z(rotations.heading(q_last[0]) - rotations.heading(q[0, 0]))
            q = rotations.multiply(turn, q)
            root = rotations.rotate(turn, root)
            root = root + (root_last - root[0]) * torch.tensor([1.0, 1.0, 0.0])
            part = torch.linspace(0, 1, blend)
            part = part * part * (3 - 2 * part)
            q[:blend] = rotations.nlerp(
                q_last[None].expand(blend, -1, -1), q[:blend], part[:, None, None]
            )
            root[:blend] = torch.lerp(root_last.expand(blend, 3), root[:blend], part[:, None])
        q_parts.append(q)
        root_parts.append(root)
        contact_parts.append(contacts)
        clip_parts.append(torch.full((len(q),), len(clip_parts)))
        q_last = q[-1]
        root_last = root[-1]
        have = have + len(q)
    return tuple(
        torch.cat(part)[:frames] for part in (q_parts, root_parts, contact_parts, clip_parts)
    )  # type: ignore[return-value]


def evaluate_running(
    library: MotionLibrary, clips: list[LibraryClip], compared: dict[str, Method], chains: int = 4
) -> list[dict[str, Any]]:
    """Error after 1, 5 and 30 minutes of continuous operation on unseen clips, over the minute that
    ends then.

    For comparison, ``_fresh`` is the error in the same minute if the method is started ten seconds
    before it. Intervals are from a bootstrap over clips.
    """
    frames = int(max(CHAIN_MINUTES) * 60 * MODEL_RATE_HZ) + 2 * MARGIN
    rng = np.random.default_rng(3)
    parts = [chain(library, clips, frames, rng) for _ in range(chains)]
    q, root, contacts, clip = (torch.stack(part) for part in zip(*parts, strict=True))
    clip = clip[:, MARGIN:-MARGIN]
    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
    # Heading drifts by 2 degrees in half an hour; larger drift is corrected by the synchroniser and
    # the filter.
    errors = replace(SensorErrors(), heading_drift_deg_per_s=0.001, dropout=0.0)
    sequence = sense(
        q, root, contacts, offsets.expand(chains, -1, -1), errors, torch.Generator().manual_seed(5)
    )
    minute = int(60 * MODEL_RATE_HZ)
    start_up = int(10 * MODEL_RATE_HZ)
    rows = []
    for name, method in tqdm(
        compared.items(), desc=f"unseen, {max(CHAIN_MINUTES)} min", unit=" methods"
    ):
        with torch.inference_mode():
            R = method(sequence.imu).rotations
            for minutes in CHAIN_MINUTES:
                window = slice((minutes - 1) * minute, minutes * minute)
                fresh = slice(max(window.start - start_up, 0), window.stop)
                R_fresh = method(sequence.imu[:, fresh]).rotations[:, -minute:]
                truth = joint_positions(sequence.rotations[:, window], offsets)
                case = f"unseen_after_{minutes}min"
                for suffix, rotation in (("", R[:, window]), ("_fresh", R_fresh)):
                    error = 100 * (joint_positions(rotation, offsets) - truth).norm(dim=-1)
                    for metric, joints in (("mpjpe_upper", UPPER), ("mpjpe_legs", LEGS)):
                        figures = _by_clip(error[..., joints].mean(-1), clip[:, window])
                        rows.append(
                            figure_row(
                                name, case, f"{metric}{suffix}_cm", *bootstrap(figures, "error")
                            )
                        )
    return rows


def _by_clip(error: Tensor, clip: Tensor) -> list[ClipFigures]:
    """Sums of an error (chains, T) by clip."""
    figures = []
    for row, labels in zip(error, clip, strict=True):
        for label in torch.unique(labels):
            part = row[labels == label]
            figures.append(ClipFigures({"error": (float(part.sum()), float(len(part)))}))
    return figures
