"""Inputs of the encoder: measurements, their changes, and their leaky means."""

import torch
from torch import Tensor

from pallas_ros.body.names import MODEL_GRAVITY, MODEL_RATE_HZ
from pallas_ros.model.config import LAGS, SHORT_MEANS_S
from pallas_ros.model.layers import running_means

State = dict[str, Tensor]
"""State of the network after the previous frames, by name."""


def encoder_input(
    imu: Tensor, valid: Tensor, state: State, forearm: Tensor, decay: Tensor
) -> Tensor:
    """Compute the inputs, their changes, means of accelerations, and the arms relative to the
    trunk.

    Args:
        imu: (B, T, 48), see `pallas_ros.data.virtual_imu.features`.
        valid: (B, window - 1 + T) 1 for frames, 0 before the first frame.
        state: after the previous frames; its ``recent`` and means are replaced.
        forearm: (2, 1) m, length of the left and right forearm along y, signed.
        decay: (K,) factor per frame of the means of `SHORT_MEANS_S`.

    Returns:
        (B, T, features).
    """
    frames = imu.shape[1]
    sites = imu.unflatten(-1, (4, 12))
    a = sites[..., :3]
    R = sites[..., 3:].unflatten(-1, (3, 3))
    known = torch.cat((state["recent"], imu), dim=1)
    changes = []
    for lag in LAGS:
        before = (
            known[:, max(LAGS) - lag : max(LAGS) - lag + frames]
            .unflatten(-1, (4, 12))[..., 3:]
            .flatten(-2)
        )
        there = valid[:, valid.shape[1] - frames - lag : valid.shape[1] - lag, None]
        changes.append((R.flatten(-3) - before) * there * (16 / lag))
    state["recent"] = known[:, frames:]
    trunk = R[:, :, 1].transpose(-1, -2)
    velocity, elbows, sway = _drift(
        a, R, changes[0].unflatten(-1, (4, 3, 3)), state, forearm, decay
    )
    elbows = (trunk[:, :, None, None] @ elbows[..., None]).flatten(2)
    arms = (trunk[:, :, None] @ R[:, :, 2:]).flatten(-3)
    pull = (trunk[:, :, None] @ (a[:, :, 2:] - a[:, :, 1:2])[..., None]).flatten(-3)
    waist = (R[:, :, 0].transpose(-1, -2) @ R[:, :, 1]).flatten(-2)
    return torch.cat(
        (imu, *changes, 3 * velocity.flatten(-2), arms, pull, waist, elbows, sway), dim=-1
    )


def _drift(
    a: Tensor, R: Tensor, change: Tensor, state: State, forearm: Tensor, decay: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Leaky integrals of accelerations (B, T, 4, 3), in g: motion of elbows and waist.

    The acceleration of a wrist relative to the neck is the contribution of the forearm's rotation,
    which is measured, plus the motion of the elbow about the shoulder, which is unknown. A leaky
    integral over tau of the second derivative of a forearm f is f' - (f - mean(f)) / tau, a second
    one f - 2 mean(f) + mean(mean(f)). No value is differentiated twice, so nothing is noisier than
    the measurements.

    Returns:
        Means of the accelerations (B, T, K, 12), velocities and displacements of the elbows (B, T,
        K, 4, 3), displacements of the waist (B, T, 3 K).
    """
    # the bone is along y, to the left and to the right
    forearms = R[:, :, 2:, :, 1] * forearm
    counted = torch.cat(
        (a.flatten(-2), forearms.flatten(-2), torch.ones_like(a[..., 0, :1])), dim=-1
    )
    means, state["short_means"] = running_means(counted, decay, state["short_means"])
    seen = means[..., -1:].clamp_min(1e-4)
    first = torch.cat((means[..., :12], means[..., 12:18] / seen), dim=-1)
    second = []
    last = []
    for k in range(len(SHORT_MEANS_S)):
        m, end = running_means(
            first[:, :, k], decay[k : k + 1], state["second_means"][:, k : k + 1]
        )
        second.append(m)
        last.append(end)
    state["second_means"] = torch.cat(last, dim=1)
    means2 = torch.cat(second, dim=2)
    mean_f = first[..., 12:].unflatten(-1, (2, 3))
    mean_f2 = (means2[..., 12:] / seen).unflatten(-1, (2, 3))
    f = forearms[:, :, None]
    tau = torch.tensor(SHORT_MEANS_S)[:, None, None].to(a)
    pull = means[..., 6:12].unflatten(-1, (2, 3)) - means[..., None, 3:6]
    pull2 = means2[..., 6:12].unflatten(-1, (2, 3)) - means2[..., None, 3:6]
    turning = change[:, :, 2:, :, 1] * forearm * (MODEL_RATE_HZ / 16)
    speed = MODEL_GRAVITY * tau * pull - turning[:, :, None] + (f - mean_f) / tau
    place = MODEL_GRAVITY * tau.square() * pull2 - (f - 2 * mean_f + mean_f2)
    return (
        means[..., :12],
        torch.cat((speed, 4 * place), dim=-2),
        (4 * MODEL_GRAVITY * tau[..., 0].square() * means2[..., :3]).flatten(-2),
    )
