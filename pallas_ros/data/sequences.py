"""Training sequences of PALLAS: windows of clips with simulated sensors and augmentation.

Motion is re-timed and mirrored, limbs are taken from other clips, arms move through the whole range
of the joints, trunks bend, and bodies have other proportions. The packs contain few, much repeated
contents; augmentation adds motion that they lack. Its settings were selected on the development
contents (`splits.DEVELOPMENT_CONTENTS`), never on ``unseen``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pallas_ros.body.names import EXTRA_SITES, UPPER_JOINTS
from pallas_ros.body.sites import RETURN_FRAMES
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data import draws
from pallas_ros.data.augmentation import bodies, keyed, paths, swings, trunk
from pallas_ros.data.augmentation.limbs import (
    ARM_CHAIN,
    ARMS,
    CHEST,
    chained,
    relative,
    replaced,
    to_parents,
)
from pallas_ros.data.augmentation.windows import ClipFrames, Moments
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, Sequence, sense
from pallas_ros.files.settings import check_interval, check_ranges
from pallas_ros.geometry import rotations

_ABOVE = UPPER_JOINTS[1:]
_SHINS = EXTRA_SITES[:2]
_UPPER_ARMS = EXTRA_SITES[2:4]
_THIGHS = EXTRA_SITES[4:6]
_SETS = (
    _SHINS,
    (*_SHINS, *_UPPER_ARMS),
    (*_SHINS, *_UPPER_ARMS, *_THIGHS),
    EXTRA_SITES,
)
_SET_SHARES = (0.35, 0.6, 0.67, 0.75)
"""Which optional sensors are worn together, cumulative shares; any subset in the rest."""


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
    every_site: bool = False
    """Whether all optional sensors are always worn; a subset is then exact (`Sequence.wearing`)."""
    segment_scale: float = 0.06
    error_scale: tuple[float, float] = (0.3, 1.8)
    errors: SensorErrors = field(default_factory=lambda: SensorErrors(delay=(0, 4)))

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a number is out of range, or the probabilities of replaced arms exceed 1.
        """
        probabilities = (
            "retime",
            "mirror",
            "foreign_arm",
            "keyed_arm",
            "free_arm",
            "foreign_upper",
            "swing",
            "bend",
            "lying",
            "extra_sites",
            "extra_lost",
        )
        angles = ("arm_turn_deg", "pronation_deg", "trunk_deg", "leg_deg")
        check_ranges(
            self,
            **dict.fromkeys(probabilities, (0, 1)),
            **dict.fromkeys(angles, (0, 180)),
            segment_scale=(0, 0.3),
        )
        check_interval(self, "speed", 0.1, 10)
        check_interval(self, "error_scale", 0, 10)
        arms = self.foreign_arm + self.keyed_arm + self.free_arm
        if arms > 1 + 1e-9:
            raise ValueError(
                f"foreign_arm, keyed_arm and free_arm add up to {arms:g}, must be at most 1"
            )


class SequenceSampler:
    """Infinite iterator of batches of `Sequence`, deterministic by seed.

    Args:
        library: the motion.
        clips: those to draw from; contents are drawn by the square root of their duration, so that
            rare ones are seen often.
        frames: T of the sequences.
        batch: B.
        settings: chances and ranges.
        seed: of the random numbers.
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
        self.clips = ClipFrames(library, clips)
        totals: dict[str, float] = {}
        for c in clips:
            totals[c.content] = totals.get(c.content, 0.0) + c.seconds
        self.weight = torch.tensor(
            [c.seconds / totals[c.content] ** 0.5 for c in clips], dtype=torch.float64
        )
        self.offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)

    def __iter__(self) -> "SequenceSampler":
        """The iterator itself; it is infinite."""
        return self

    def __next__(self) -> Sequence:
        """The next batch."""
        s = self.settings
        frames = self.frames + 2 * MARGIN
        window = self._window(frames)
        q = self.clips.orientations(window)
        root = self.clips.root(window)
        contacts = self.clips.contacts(window)
        q = self._foreign_upper(q, frames)
        arms = self._arms(q, frames)
        q = trunk.bent(self.generator, q, s.trunk_deg, s.bend)
        q = trunk.legs_turned(self.generator, q, s.leg_deg)
        for joints, arm in zip(ARMS, arms):
            q[:, :, list(joints)] = rotations.multiply(q[:, :, CHEST, None], arm)
        flip = self._chance(s.mirror, self.batch)
        q, root = bodies.mirror(flip, q, root)
        contacts = torch.where(flip[:, None, None], contacts.flip(-1), contacts)
        q, root, contacts = self._lay_down(q, root, contacts)
        scale = 1 + s.segment_scale * (
            torch.randn(self.batch, 22, 1, generator=self.generator).clamp(-2, 2)
            + torch.randn(self.batch, 1, 1, generator=self.generator) * 0.5
        )
        low, high = s.error_scale
        # One scale of error a batch would tie the batch's samples together; the errors' own draws
        # vary enough within it.
        errors = s.errors.scaled(float(self._uniform(low, high, 1)))
        worn = None if s.every_site else self._worn()
        return sense(q, root, contacts, self.offsets * scale, errors, self.generator, worn=worn)

    def _chance(self, probability: float, *shape: int) -> Tensor:
        return draws.chance(self.generator, probability, *shape)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return draws.uniform(self.generator, low, high, *shape)

    def _rows(self, probability: float) -> Tensor:
        return draws.rows(self.generator, probability, self.batch)

    def _window(self, frames: int) -> Moments:
        """Times (B, T) of clips, some of them slower or faster."""
        s = self.settings
        clip = torch.multinomial(
            self.weight, self.batch, replacement=True, generator=self.generator
        )
        speed = torch.where(
            self._chance(s.retime, self.batch),
            self._uniform(*s.speed, self.batch),
            torch.ones(self.batch),
        )
        last = (self.clips.length[clip] - 1).double()[:, None]
        span = torch.clamp(last[:, 0] - speed * frames, min=0.0)
        time = (torch.rand(self.batch, generator=self.generator) * span)[:, None] + speed[
            :, None
        ] * torch.arange(frames)
        time = last - (time % (2 * last) - last).abs()  # at a clip's end motion runs backwards
        return self.clips.at(clip, time)

    def _foreign_upper(self, q: Tensor, frames: int) -> Tensor:
        """Trunk, head and arms of another clip on this one's pelvis."""
        rows = self._rows(self.settings.foreign_upper)
        if not len(rows):
            return q
        donor = self.clips.orientations(self._window(frames).of(rows), [0, *_ABOVE])
        turn = rotations.about_z(
            rotations.heading(q[rows][:, :, 0]) - rotations.heading(donor[:, :, 0])
        )
        return replaced(q, rows, _ABOVE, rotations.multiply(turn[:, :, None], donor[:, :, 1:]))

    def _arms(self, q: Tensor, frames: int) -> list[Tensor]:
        """Both arms' orientations relative to spine3, (B, T, 4, 4) each."""
        s = self.settings
        out = []
        donor = self._window(frames)
        for side in (0, 1):
            joints = list(ARMS[side])
            arm = relative(q[:, :, CHEST, None], q[:, :, joints])
            pick = torch.rand(self.batch, generator=self.generator)
            foreign = torch.nonzero(pick < s.foreign_arm)[:, 0]
            if len(foreign):
                part = self.clips.orientations(donor.of(foreign), [CHEST, *joints])
                arm[foreign] = relative(part[:, :, :1], part[:, :, 1:])
            chosen = torch.nonzero(
                (pick >= s.foreign_arm) & (pick < s.foreign_arm + s.keyed_arm + s.free_arm)
            )[:, 0]
            if len(chosen):
                free = pick[chosen] >= s.foreign_arm + s.keyed_arm
                arm[chosen] = self._keyed_arm(len(chosen), free, frames, side)
            arm = swings.turned_arm(self.generator, arm, s.arm_turn_deg, s.pronation_deg)
            rows = self._rows(s.swing)
            if len(rows):
                arm[rows] = swings.swung_forearm(self.generator, arm[rows], side)
            out.append(arm)
        return out

    def _keyed_arm(self, count: int, free: Tensor, frames: int, side: int) -> Tensor:
        """Arms (count, T, 4, 4) that move smoothly between key poses: of other clips, or (``free``)
        of the whole range of the joints.
        """
        known = self.clips.frames
        index = torch.randint(0, len(known), (count, keyed.KEYS), generator=self.generator)
        keys = to_parents(self.clips.poses(known[index]), ARMS[side])
        anywhere = keyed.anywhere(self.generator, keys, side)
        keys = torch.where(free[:, None, None, None], anywhere, keys)
        path = paths.timed(self.generator, count, frames, keyed.KEYS)
        return chained(paths.along(paths.successive(keys), path), ARM_CHAIN)

    def _lay_down(self, q: Tensor, root: Tensor, contacts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tip some sequences over, forwards or backwards about the body's lateral axis.

        The body, its path and so its accelerations turn as one; no foot stands any more.
        """
        rows = self._rows(self.settings.lying)
        if not len(rows):
            return q, root, contacts
        angle = self._uniform(60, 110, len(rows)) * (torch.pi / 180)
        angle = torch.where(self._chance(0.5, len(rows)), angle, -angle)
        q = q.clone()
        root = root.clone()
        q[rows], root[rows] = bodies.turn(bodies.lying(q[rows], angle), q[rows], root[rows])
        contacts = contacts.clone()
        contacts[rows] = False
        return q, root, contacts

    def _worn(self) -> Tensor:
        """How much each optional site counts, (B, T, 7), 0 to 1."""
        s = self.settings
        t = torch.arange(self.frames)[None, :, None]
        kind = self._uniform(0.0, 1.0, self.batch)[:, None] / max(s.extra_sites, 1e-9)
        sets = torch.tensor([[site in worn for site in EXTRA_SITES] for worn in _SETS])
        drawn = torch.rand(self.batch, len(EXTRA_SITES), generator=self.generator) < 0.5
        chosen = torch.bucketize(kind[:, 0], torch.tensor(_SET_SHARES))
        worn = torch.where(
            (chosen < len(_SETS))[:, None], sets[chosen.clamp(max=len(_SETS) - 1)], drawn
        )
        worn = worn & (kind < 1)
        lost = self._chance(s.extra_lost, *worn.shape)
        start = torch.randint(0, self.frames, worn.shape, generator=self.generator)
        back = start + torch.randint(5, self.frames, worn.shape, generator=self.generator)
        count = ((t - back[:, None]) / RETURN_FRAMES).clamp(0.0, 1.0)
        count = torch.where(t < start[:, None], torch.ones(()), count)
        return torch.where(lost[:, None], count, torch.ones(())) * worn[:, None]
