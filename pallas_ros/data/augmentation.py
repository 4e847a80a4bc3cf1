"""Training sequences: windows of clips, re-timed, mirrored, with limbs of other clips, arms that
move anywhere, trunks that bend, other bodies.

The packs hold few contents, much repeated. What is drawn here is what they lack; which of it helps
was judged on the development contents (`splits.DEVELOPMENT_CONTENTS`), never on ``unseen``.
"""

import torch
from torch import Tensor

from pallas_ros.body.names import EXTRA_SITES, JOINT_INDEX, LEG_JOINTS, MIRROR, UPPER_JOINTS
from pallas_ros.body.sites import RETURN_FRAMES
from pallas_ros.data.clip_windows import ClipWindows
from pallas_ros.data.virtual_imu import (
    MARGIN,
    Sequence,
    _smooth,
    sense,
)
from pallas_ros.geometry import rotations

ARMS = tuple(
    tuple(JOINT_INDEX[f"{side}_{joint}"] for joint in ("collar", "shoulder", "elbow", "wrist"))
    for side in ("left", "right")
)
_ABOVE = UPPER_JOINTS[1:]
_SPINE3 = JOINT_INDEX["spine3"]
_TRUNK = {"pelvis": 0.35, "spine1": 0.5, "spine2": 0.7, "spine3": 0.9, "neck": 0.95, "head": 1.0}


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


class SequenceSampler(ClipWindows):
    """Endless batches of `Sequence`, deterministic by seed.

    See `ClipWindows` for the arguments.
    """

    def __next__(self) -> Sequence:
        """The next batch."""
        s = self.settings
        frames = self.frames + 2 * MARGIN
        window = self._window(frames)
        q = self._orientations(window, slice(None))
        before, after, part = window
        root = torch.lerp(self.root[before], self.root[after], part[..., None])
        contacts = self.contacts[before]
        q = self._foreign_upper(q, frames)
        arms = self._arms(q, frames)
        q = self._bend(q, frames)
        for side in (0, 1):
            q[:, :, list(ARMS[side])] = rotations.multiply(q[:, :, _SPINE3, None], arms[side])
        q, root, contacts = self._mirror(q, root, contacts)
        q, root, contacts = self._lay_down(q, root, contacts)
        scale = 1 + s.segment_scale * (
            torch.randn(self.batch, 22, 1, generator=self.generator).clamp(-2, 2)
            + torch.randn(self.batch, 1, 1, generator=self.generator) * 0.5
        )
        low, high = s.error_scale
        # One scale of error a batch would tie the batch's samples together; the errors' own draws
        # vary enough within it.
        errors = s.errors.scaled(float(self._uniform(low, high, 1)))
        return sense(
            q, root, contacts, self.offsets * scale, errors, self.generator, worn=self._worn()
        )

    def _lay_down(self, q: Tensor, root: Tensor, contacts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tip some sequences over, forwards or backwards about the body's lateral axis.

        The body, its path and so its accelerations turn as one; no foot stands any more.
        """
        rows = torch.nonzero(self._chance(self.settings.lying, self.batch))[:, 0]
        if not len(rows):
            return q, root, contacts
        angle = self._uniform(60, 110, len(rows)) * (torch.pi / 180)
        angle = torch.where(self._chance(0.5, len(rows)), angle, -angle)
        lateral = torch.stack((torch.zeros_like(angle), angle, torch.zeros_like(angle)), -1)
        q_heading = rotations.about_z(rotations.heading(q[rows][:, :1, 0])[:, 0])
        tip = rotations.from_rotvec(rotations.rotate(q_heading, lateral))
        q = q.clone()
        q[rows] = rotations.multiply(tip[:, None, None], q[rows])
        root = root.clone()
        root[rows] = rotations.rotate(tip[:, None], root[rows])
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

    def __iter__(self) -> "SequenceSampler":
        """Itself: the batches never end."""
        return self

    def _foreign_upper(self, q: Tensor, frames: int) -> Tensor:
        """Trunk, head and arms of another clip on this one's pelvis."""
        rows = torch.nonzero(self._chance(self.settings.foreign_upper, self.batch))[:, 0]
        if not len(rows):
            return q
        before, after, part = (x[rows] for x in self._window(frames))
        joints = [0, *_ABOVE]
        donor = self._orientations((before, after, part), joints)
        turn = rotations.about_z(
            rotations.heading(q[rows][:, :, 0]) - rotations.heading(donor[:, :, 0])
        )
        q = q.clone()
        q[rows[:, None], :, torch.tensor(_ABOVE)] = rotations.multiply(
            turn[:, :, None], donor[:, :, 1:]
        ).transpose(1, 2)
        return q

    def _arms(self, q: Tensor, frames: int) -> list[Tensor]:
        """Both arms' orientations relative to spine3, (B, T, 4, 4) each."""
        s = self.settings
        out = []
        donor = self._window(frames)
        trunk = rotations.inverse(q[:, :, _SPINE3, None])
        for side in (0, 1):
            joints = list(ARMS[side])
            arm = rotations.multiply(trunk, q[:, :, joints])
            pick = torch.rand(self.batch, generator=self.generator)
            foreign = torch.nonzero(pick < s.foreign_arm)[:, 0]
            if len(foreign):
                part = self._orientations(
                    (donor[0][foreign], donor[1][foreign], donor[2][foreign]), [_SPINE3, *joints]
                )
                arm[foreign] = rotations.multiply(rotations.inverse(part[:, :, :1]), part[:, :, 1:])
            keyed = torch.nonzero(
                (pick >= s.foreign_arm) & (pick < s.foreign_arm + s.keyed_arm + s.free_arm)
            )[:, 0]
            if len(keyed):
                free = pick[keyed] >= s.foreign_arm + s.keyed_arm
                arm[keyed] = self._keyed_arm(len(keyed), free, frames, side)
            arm = self._swing_arm(self._turn_arm(arm, frames, side), frames, side)
            out.append(arm)
        return out

    def _turn_arm(self, arm: Tensor, frames: int, side: int) -> Tensor:
        """Turn the whole arm a little about the shoulder, and the forearm about itself."""
        s = self.settings
        deg = torch.pi / 180
        turn = (
            s.arm_turn_deg
            * deg
            * 0.7
            * (
                torch.randn(self.batch, 1, 3, generator=self.generator)
                + _smooth((self.batch, 3), frames, self.generator, 0.1, 1.0).transpose(1, 2)
            )
        )
        roll = (
            s.pronation_deg
            * deg
            * 0.7
            * (
                torch.randn(self.batch, 1, generator=self.generator)
                + _smooth((self.batch,), frames, self.generator, 0.1, 1.0)
            )
        )
        arm = arm.clone()
        arm[:, :, 1:] = rotations.multiply(rotations.from_rotvec(turn)[:, :, None], arm[:, :, 1:])
        axis = torch.stack((torch.zeros_like(roll), roll, torch.zeros_like(roll)), dim=-1)
        hand = rotations.multiply(rotations.inverse(arm[:, :, 2]), arm[:, :, 3])
        arm[:, :, 2] = rotations.multiply(arm[:, :, 2], rotations.from_rotvec(axis))
        arm[:, :, 3] = rotations.multiply(arm[:, :, 2], hand)
        return arm

    def _swing_arm(self, arm: Tensor, frames: int, side: int) -> Tensor:
        """Some forearms (B, T, 4, 4) swing for a while: about the elbow's hinge, or about the upper
        arm, which turns with them.
        """
        rows = torch.nonzero(self._chance(self.settings.swing, self.batch))[:, 0]
        if not len(rows):
            return arm
        count = len(rows)
        t = torch.arange(frames) / 60
        rate = self._uniform(0.5, 2.8, count, 1)
        phase = self._uniform(0, 2 * torch.pi, count, 1)
        # begins and ends within the sequence
        fades = torch.sigmoid(6 * self._waves_of(count, frames))
        angle = (
            fades
            * self._uniform(5, 40, count, 1)
            * torch.sin(2 * torch.pi * rate * t + phase)
            * (torch.pi / 180)
        )
        about_upper_arm = self._chance(0.5, count, 1)
        zero = torch.zeros_like(angle)
        sign = 1.0 if side == 0 else -1.0
        twist = rotations.from_rotvec(
            torch.stack((zero, torch.where(about_upper_arm, angle, zero), zero), -1)
        )
        hinge = rotations.from_rotvec(
            torch.stack((zero, zero, torch.where(about_upper_arm, zero, -sign * angle)), -1)
        )
        collar, upper, *rest = arm[rows].unbind(2)
        turned = rotations.multiply(rotations.multiply(upper, twist), hinge)
        change = rotations.multiply(turned, rotations.inverse(upper))
        arm = arm.clone()
        arm[rows] = torch.stack(
            (
                collar,
                rotations.multiply(upper, twist),
                *(rotations.multiply(change, x) for x in rest),
            ),
            dim=2,
        )
        return arm

    def _waves_of(self, count: int, frames: int) -> Tensor:
        return _smooth((count,), frames, self.generator, 0.1, 0.6)

    def _keyed_arm(self, count: int, free: Tensor, frames: int, side: int, keys: int = 6) -> Tensor:
        """Arms (count, T, 4, 4) that move smoothly between key poses: of other clips, or (``free``)
        of the whole range of the joints.
        """
        index = torch.randint(0, len(self.q), (count, keys), generator=self.generator)
        pose = rotations.normalise(self.q[index][:, :, [_SPINE3, *ARMS[side]]].float())
        local = rotations.multiply(rotations.inverse(pose[:, :, :-1]), pose[:, :, 1:])
        sign = 1.0 if side == 0 else -1.0
        deg = torch.pi / 180

        def angle(low: float, high: float) -> Tensor:
            return self._uniform(low * deg, high * deg, count, keys)

        zero = torch.zeros(count, keys)
        lower = angle(-85, 70)
        swing = angle(-60, 135)
        roll = angle(-70, 70)
        raised = rotations.from_rotvec(torch.stack((sign * lower, zero, zero), -1))
        swung = rotations.from_rotvec(torch.stack((zero, zero, -sign * swing), -1))
        twist = rotations.from_rotvec(torch.stack((zero, roll, zero), -1))
        flexed = rotations.from_rotvec(torch.stack((zero, zero, -sign * angle(0, 145)), -1))
        pronated = rotations.from_rotvec(torch.stack((zero, angle(-90, 90), zero), -1))
        anywhere = local.clone()
        anywhere[:, :, 1] = rotations.multiply(rotations.multiply(swung, raised), twist)
        anywhere[:, :, 2] = rotations.multiply(flexed, pronated)
        local = torch.where(free[:, None, None, None], anywhere, local)
        gaps = self._uniform(0.5, 2.0, count, keys - 1)
        times = torch.cat((torch.zeros(count, 1), torch.cumsum(gaps, 1)), 1)
        # part of the path that is travelled: how fast the arm moves
        length = self._uniform(0.35, 1.3, count)[:, None] * (frames / 128)
        at = torch.linspace(0, 1, frames)[None] * times[:, -1:] * length.clamp(max=1.0)
        segment = (torch.searchsorted(times, at.contiguous(), right=True) - 1).clamp(0, keys - 2)
        begin = torch.gather(times, 1, segment)
        end = torch.gather(times, 1, segment + 1)
        # part of the time that a pose is held
        rest = self._uniform(-0.5, 0.75, count).clamp_min(0)[:, None]
        part = ((at - begin) / (end - begin) / (1 - rest)).clamp(0, 1)
        part = part * part * (3 - 2 * part)
        pick = segment[..., None, None].expand(-1, -1, 4, 4)
        moving = rotations.nlerp(
            torch.gather(local, 1, pick), torch.gather(local, 1, pick + 1), part[..., None, None]
        )
        out = [moving[:, :, 0]]
        for joint in range(1, 4):
            out.append(rotations.multiply(out[-1], moving[:, :, joint]))
        return torch.stack(out, dim=2)

    def _bend(self, q: Tensor, frames: int) -> Tensor:
        """Bend the trunk over standing legs, and turn the legs a little; axes are those of the
        pelvis' heading.
        """
        s = self.settings
        deg = torch.pi / 180
        slight = (
            s.trunk_deg
            * 0.7
            * (
                torch.randn(self.batch, 1, 3, generator=self.generator)
                + _smooth((self.batch, 3), frames, self.generator, 0.1, 0.8).transpose(1, 2)
            )
        )
        far = self._uniform(-1, 1, self.batch, 1, 3) * torch.tensor(
            [35.0, 47.5, 50.0]
        ) + torch.tensor([0.0, 32.5, 0.0])
        course = 0.5 - 0.5 * torch.cos(
            2
            * torch.pi
            * (
                self._uniform(0.1, 0.5, self.batch, 1) * torch.arange(frames) / 60
                + self._uniform(0, 1, self.batch, 1)
            )
        )
        bend = (slight + far * course[..., None] * self._chance(s.bend, self.batch, 1, 1)) * deg
        q_heading = rotations.about_z(rotations.heading(q[:, :, 0]))
        bend = rotations.rotate(q_heading, bend)
        joints = [JOINT_INDEX[name] for name in _TRUNK]
        shares = torch.tensor(list(_TRUNK.values()))
        shares = torch.cat(
            (
                shares[:1] * self._uniform(0.3, 2.2, self.batch, 1),
                shares[1:].expand(self.batch, -1),
            ),
            1,
        )
        q = q.clone()
        q[:, :, joints] = rotations.multiply(
            rotations.from_rotvec(bend[:, :, None] * shares[:, None, :, None]), q[:, :, joints]
        )
        legs = list(LEG_JOINTS)
        turn = s.leg_deg * deg * torch.randn(self.batch, 1, 2, 3, generator=self.generator)
        both = rotations.from_rotvec(turn[:, :, [0, 1] * 4])
        q[:, :, legs] = rotations.multiply(both, q[:, :, legs])
        return q

    def _mirror(self, q: Tensor, root: Tensor, contacts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Left and right exchanged, by reflection in the x-z plane."""
        flip = self._chance(self.settings.mirror, self.batch)
        mirrored = q[:, :, list(MIRROR)] * torch.tensor([-1.0, 1.0, -1.0, 1.0])
        return (
            torch.where(flip[:, None, None, None], mirrored, q),
            torch.where(flip[:, None, None], root * torch.tensor([1.0, -1.0, 1.0]), root),
            torch.where(flip[:, None, None], contacts.flip(-1), contacts),
        )
