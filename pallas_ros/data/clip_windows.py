"""Windows drawn from clips at random, and the settings of what is then changed in them."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import (
    SensorErrors,
)
from pallas_ros.geometry import rotations


@dataclass(frozen=True)
class AugmentationSettings:
    """Chances are per sequence (per arm where it says so), angles in degrees (standard
    deviations).
    """

    retime: float = 0.7
    speed: tuple[float, float] = (0.7, 1.4)
    mirror: float = 0.5
    foreign_arm: float = 0.25
    """Chance, per arm, that it comes from another clip."""
    keyed_arm: float = 0.2
    """Chance, per arm, that it moves between arm poses drawn from all clips."""
    free_arm: float = 0.12
    """Chance, per arm, that it moves between poses drawn from the whole range of the joints."""
    foreign_upper: float = 0.0
    """Chance that all above the pelvis comes from another clip, so that legs are not guessed from
    arms.
    """
    swing: float = 0.2
    """Chance, per arm, that the forearm swings (waves, beats, scrubs) about the elbow or with the
    upper arm's turning.
    """
    arm_turn_deg: float = 8.0
    pronation_deg: float = 15.0
    trunk_deg: float = 4.0
    bend: float = 0.12
    """Chance that the trunk bends far (up to 80 degrees forward, 35 sideways, 50 in twist)."""
    leg_deg: float = 3.0
    lying: float = 0.0
    """Chance that the whole body lies on its front or back, as in swimming: its legs then no longer
    follow from the inclination of the waist.
    """
    extra_sites: float = 0.55
    """Chance that sensors are worn besides the four: shins, shins and upper arms, these and thighs,
    all, or any subset.
    """
    extra_lost: float = 0.15
    """Chance, per optional sensor worn, that it is lost for a while."""
    segment_scale: float = 0.06
    error_scale: tuple[float, float] = (0.3, 1.8)
    errors: SensorErrors = field(default_factory=lambda: SensorErrors(delay=(0, 4)))


class ClipWindows:
    """Windows of clips at random times and speeds, deterministic by seed.

    Args:
        library: the motion.
        clips: those to draw from; contents are drawn by the square root of their duration, so that
            rare ones are seen often.
        frames: T of the sequences.
        batch: B.
        settings: chances and ranges.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        library: MotionLibrary,
        clips: list[LibraryClip],
        frames: int,
        batch: int,
        settings: AugmentationSettings,
        seed: int,
    ) -> None:
        self.frames = frames
        self.batch = batch
        self.settings = settings
        self.generator = torch.Generator().manual_seed(seed)
        self.q = torch.from_numpy(
            np.concatenate([library.rotations[c.start : c.stop] for c in clips])
        )
        self.root = torch.from_numpy(
            np.concatenate([library.root[c.start : c.stop] for c in clips])
        )
        self.contacts = torch.from_numpy(
            np.concatenate([library.contacts[c.start : c.stop] for c in clips])
        )
        self.length = torch.tensor([c.stop - c.start for c in clips])
        self.start = torch.cumsum(self.length, 0) - self.length
        totals: dict[str, float] = {}
        for c in clips:
            totals[c.content] = totals.get(c.content, 0.0) + c.seconds
        self.weight = torch.tensor(
            [c.seconds / totals[c.content] ** 0.5 for c in clips], dtype=torch.float64
        )
        self.offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)

    def _chance(self, probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator) < probability

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def _window(self, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Frame before, frame after (B, T) in the flat arrays, and the part of the way between them
        (B, T).
        """
        s = self.settings
        clip = torch.multinomial(
            self.weight, self.batch, replacement=True, generator=self.generator
        )
        speed = torch.where(
            self._chance(s.retime, self.batch),
            self._uniform(*s.speed, self.batch),
            torch.ones(self.batch),
        )
        last = (self.length[clip] - 1).double()[:, None]
        span = torch.clamp(last[:, 0] - speed * frames, min=0.0)
        time = (torch.rand(self.batch, generator=self.generator) * span)[:, None] + speed[
            :, None
        ] * torch.arange(frames)
        time = last - (time % (2 * last) - last).abs()  # at a clip's end motion runs backwards
        before = torch.minimum(time.floor(), last - 1).clamp(min=0)
        start = self.start[clip][:, None]
        return (
            (start + before.long()),
            start + torch.minimum(before + 1, last).long(),
            (time - before).float(),
        )

    def _orientations(
        self, window: tuple[Tensor, Tensor, Tensor], joints: list[int] | slice
    ) -> Tensor:
        before, after, part = window
        a, b = (rotations.normalise(self.q[i][:, :, joints].float()) for i in (before, after))
        return rotations.nlerp(a, b, part[:, :, None, None])
