"""Inputs for evaluation: clips with simulated sensors, and the real recording."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, Sequence, features, sense
from pallas_ros.files.npz import load_npz
from pallas_ros.geometry import rotations
from pallas_ros.runtime.estimator import ACCELERATION_FRAMES

SHORTEST_FRAMES = 2 * MARGIN + 12
"""Clips have to be longer than this to be measured."""


def sensed(
    library: MotionLibrary, clips: list[LibraryClip], errors: SensorErrors
) -> Iterator[tuple[list[LibraryClip], Sequence, list[int]]]:
    """Simulate the sensors on clips, in batches of similar length; deterministic.

    Yields:
        The clips, their sequences (padded by the last frame), and the number of frames of each.
    """
    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
    ordered = sorted(
        (c for c in clips if c.stop - c.start > SHORTEST_FRAMES),
        key=lambda c: (c.stop - c.start, c.name),
    )
    for first in range(0, len(ordered), 32):
        batch = ordered[first : first + 32]
        longest = max(c.stop - c.start for c in batch)
        index = np.stack(
            [np.minimum(np.arange(longest), c.stop - c.start - 1) + c.start for c in batch]
        )
        q = rotations.normalise(torch.from_numpy(library.rotations[index].astype(np.float32)))
        root = torch.from_numpy(library.root[index])
        contacts = torch.from_numpy(library.contacts[index])
        generator = torch.Generator().manual_seed(zlib.crc32(batch[0].name.encode()))
        sequence = sense(q, root, contacts, offsets.expand(len(batch), -1, -1), errors, generator)
        yield batch, sequence, [c.stop - c.start - 2 * MARGIN for c in batch]


def without_acceleration(imu: Tensor) -> Tensor:
    """Inputs (..., 48) with all accelerations set to zero."""
    sites: Tensor = imu.unflatten(-1, (4, 12)).clone()
    sites[..., :3] = 0.0
    return sites.flatten(-2)


def real_inputs(path: Path) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The real recording as inputs (1, T, 48), measured orientations (T, 4) xyzw by site, and
    heading (T,) rad of the waist; accelerations are filtered as live.
    """
    arrays = load_npz(path, "IMU recording")
    sites = [str(name) for name in arrays["sites"]]
    q = torch.tensor(arrays["orientation"], dtype=torch.float32)
    a = arrays["linear_acceleration"].astype(np.float64)
    padded = np.concatenate((np.repeat(a[:1], ACCELERATION_FRAMES - 1, axis=0), a))
    smooth = np.stack([padded[i : i + len(a)] for i in range(ACCELERATION_FRAMES)]).mean(0)
    used = [sites.index(name) for name in ("pelvis", "head", "left_wrist", "right_wrist")]
    heading = rotations.heading(q[:, used[0]])
    R = rotations.to_matrix(rotations.about_z(-heading))
    imu = features(q[:, used], torch.tensor(smooth[:, used], dtype=torch.float32), R)
    return imu[None], {name: q[:, index] for index, name in enumerate(sites)}, heading
