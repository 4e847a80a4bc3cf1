"""The recurrence shared by arms and legs: a small network predicts a target pose, towards which the
pose moves joint by joint.

    hidden = silu(condition + W x),  x = (pose, contacts) of the previous frame
    out    = W_out (silu(W_middle hidden + b) + hidden) + b_out
           = (target, motion?, gates, contacts, velocity)
    target' = proposed + target,  stay = 1 - sigmoid(gate)
    pose   = keep (target' + stay (pose + motion / 10 - target')) + measured

Autograd would record about thirty operations per frame. Here, the frames are processed without it,
and the gradient is explicit: one pass backwards in time, then one product per weight over all
frames. This reduces the time of the recurrences in a training step to a third.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MOTION = 0.1
"""Factor of the network's motion output per frame."""


@dataclass(frozen=True)
class Form:
    """Sizes of the recurrence: values of the pose (six per joint), whether motion is an output,
    number of contacts fed back, size of the velocity.
    """

    numbers: int
    motion: bool
    contacts: int = 0
    velocity: int = 0

    @property
    def sizes(self) -> list[int]:
        """Sizes of the parts of the output: target, motion, gates, contacts, velocity."""
        return [
            self.numbers,
            self.numbers if self.motion else 0,
            self.numbers // 6,
            self.contacts,
            self.velocity,
        ]


def scan(
    form: Form,
    condition: Tensor,
    proposed: Tensor | None,
    keep: Tensor,
    measured: Tensor,
    past: Tensor,
    seen: Tensor,
    weights: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Run the recurrence.

    Args:
        form: its sizes.
        condition: (B, T, hidden).
        proposed: (B, T, numbers), or None for zeros.
        keep: (B, T, numbers).
        measured: (B, T, numbers).
        past: (B, numbers + contacts), of the frame before the first.
        seen: (B, 1), 0 if there is no such frame, so that it has no influence.
        weights: of x (hidden, numbers + contacts), middle, its bias, out, its bias.

    Returns:
        (B, T, numbers) poses, and (B, T, contacts + velocity) with contacts as logits.
    """
    moved = [
        torch.zeros_like(keep) if x is None else x for x in (condition, proposed, keep, measured)
    ]
    poses, others = _Scan.apply(  # type: ignore[no-untyped-call]
        form, *(x.transpose(0, 1).contiguous() for x in moved), past, seen, *weights
    )
    return poses.transpose(0, 1), others.transpose(0, 1)


class _Scan(torch.autograd.Function):
    """`scan`, time first."""

    @staticmethod
    def forward(
        ctx: Any,
        form: Form,
        condition: Tensor,
        proposed: Tensor,
        keep: Tensor,
        measured: Tensor,
        past: Tensor,
        seen: Tensor,
        w_x: Tensor,
        w_middle: Tensor,
        b_middle: Tensor,
        w_out: Tensor,
        b_out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        n = form.numbers
        frames = keep.shape[0]
        batch = keep.shape[1]
        x = past
        kept: list[list[Tensor]] = [[] for _ in range(5)]
        blended = torch.empty_like(keep)
        poses = torch.empty_like(keep)
        others = keep.new_empty(frames, batch, form.contacts + form.velocity)
        stays = seen
        for t in range(frames):
            pre = torch.addmm(condition[t], x, w_x.T)
            hidden = F.silu(pre)
            middle = torch.addmm(b_middle, hidden, w_middle.T)
            summed = F.silu(middle) + hidden
            out = torch.addmm(b_out, summed, w_out.T)
            target, motion, gates, contacts, _ = out.split(form.sizes, dim=-1)
            target = proposed[t] + target
            gap = x[:, :n] - target
            if form.motion:
                gap = gap + MOTION * motion
            stay = (1 - torch.sigmoid(gates)) * stays
            turned = gap.unflatten(-1, (-1, 6)) * stay[..., None]
            torch.add(target, turned.flatten(1), out=blended[t])
            torch.addcmul(measured[t], blended[t], keep[t], out=poses[t])
            others[t] = out[:, -others.shape[-1] :] if others.shape[-1] else others[t]
            for stack, value in zip(kept, (x, pre, middle, gap, stay), strict=True):
                stack.append(value)
            x = poses[t]
            if form.contacts:
                x = torch.cat((x, torch.sigmoid(contacts)), dim=-1)
            stays = torch.ones_like(seen)
        ctx.form = form
        ctx.save_for_backward(
            keep, blended, others, seen, w_x, w_middle, w_out, *(torch.stack(k) for k in kept)
        )
        return poses, others

    @staticmethod
    def backward(ctx: Any, d_poses: Tensor, d_others: Tensor) -> tuple[Tensor | None, ...]:
        form: Form = ctx.form
        keep, blended, others, seen, w_x, w_middle, w_out, x, pre, middle, gap, stay = (
            ctx.saved_tensors
        )
        frames = keep.shape[0]
        n = form.numbers
        hidden = F.silu(pre)
        s_middle = F.silu(middle)
        # of silu(u) = u s(u): s + silu (1 - s)
        slope_pre = torch.sigmoid(pre) + hidden * (1 - torch.sigmoid(pre))
        slope_middle = torch.sigmoid(middle) + s_middle * (1 - torch.sigmoid(middle))
        counts = torch.ones_like(stay)
        counts[0] = seen
        open_ = 1 - torch.where(counts > 0, stay / counts.clamp_min(1e-9), stay)  # sigmoid(gate)
        slope_gate = -counts * (1 - open_) * open_
        con = torch.sigmoid(others[..., : form.contacts])
        slope_con = con * (1 - con)
        d_blended = torch.empty_like(keep)
        d_out = keep.new_empty(frames, keep.shape[1], sum(form.sizes))
        d_middle = torch.empty_like(middle)
        d_pre = torch.empty_like(pre)
        d_full = torch.empty_like(keep)
        d_x = torch.zeros_like(x[0])
        first_gate = n * (2 if form.motion else 1)
        gates = slice(first_gate, first_gate + n // 6)
        for t in range(frames - 1, -1, -1):
            torch.add(d_poses[t], d_x[:, :n], out=d_full[t])
            d_blend = torch.mul(d_full[t], keep[t], out=d_blended[t])
            by_joint = d_blend.unflatten(-1, (-1, 6))
            d_gap = (by_joint * stay[t][..., None]).flatten(1)
            row = d_out[t]
            torch.sub(d_blend, d_gap, out=row[:, :n])
            if form.motion:
                torch.mul(d_gap, MOTION, out=row[:, n : 2 * n])
            d_stay = (by_joint * gap[t].unflatten(-1, (-1, 6))).sum(-1)
            torch.mul(d_stay, slope_gate[t], out=row[:, gates])
            if others.shape[-1]:
                row[:, gates.stop :] = d_others[t]
            if form.contacts:
                row[:, gates.stop : gates.stop + form.contacts] += d_x[:, n:] * slope_con[t]
            d_summed = row @ w_out
            torch.mul(d_summed, slope_middle[t], out=d_middle[t])
            torch.mul(torch.addmm(d_summed, d_middle[t], w_middle), slope_pre[t], out=d_pre[t])
            d_x = d_pre[t] @ w_x
            d_x[:, :n] += d_gap
        flat = [v.flatten(0, 1) for v in (d_out, d_middle, d_pre)]
        summed = (s_middle + hidden).flatten(0, 1)
        return (
            None,
            d_pre,
            d_out[..., :n],
            d_full * blended,
            d_full,
            d_x,
            None,
            flat[2].T @ x.flatten(0, 1),
            flat[1].T @ hidden.flatten(0, 1),
            flat[1].sum(0),
            flat[0].T @ summed,
            flat[0].sum(0),
        )
