"""Virtual sensors for training: converts true motion to the network's 48 inputs and its targets, in
batches, with torch.

The errors of a worn, calibrated IMU are drawn once per sequence (calibration, heading, placement,
bias) and once per frame (noise). The live simulator (`pallas_ros.imu.virtual`) generates raw
samples one by one; both use `SensorErrors`.

Accelerations are second differences of positions over n = 4 frames, as in TransPose (Yi et al.
2021).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pallas_ros.body.names import (
    ALL_SITES,
    EXTRA_SITES,
    JOINT_INDEX,
    MODEL_GRAVITY,
    MODEL_RATE_HZ,
    PARENTS,
    SITES,
)
from pallas_ros.body.sites import PER_EXTRA, SITE
from pallas_ros.data.draws import slow_noise
from pallas_ros.files.settings import check_interval, check_ranges
from pallas_ros.geometry import rotations

SMOOTHING = 4
"""Frames on either side used for the acceleration."""

MARGIN = 8
"""Additional frames at both ends of a sequence, for the smoothing and for the delay of a causal
acceleration filter (0 to 4 frames).
"""

_PLACES = torch.tensor([SITE[name].place for name in ALL_SITES])
"""(11, 3) m, position of each sensor in the frame of its bone."""
_JOINTS = [SITE[name].index for name in ALL_SITES]
CORE = len(SITES)
EXTRA = len(EXTRA_SITES)
EXTRA_INPUTS = EXTRA * PER_EXTRA

_SPINE3 = JOINT_INDEX["spine3"]
_HEAD = JOINT_INDEX["head"]

_LIMITS = {
    "calibration_deg": 180.0,
    "heading_deg": 180.0,
    "heading_drift_deg_per_s": 180.0,
    "tilt_deg": 180.0,
    "wobble_deg": 180.0,
    "noise_deg": 180.0,
    "acceleration_noise": 100.0,
    "acceleration_bias": 100.0,
    "sensor_offset_m": 1.0,
    "dropout": 1.0,
}
"""Largest valid values in `SensorErrors`."""


@dataclass(frozen=True)
class SensorErrors:
    """Standard deviations of the errors; angles in degrees, accelerations in m/s^2.

    Order of sites as in `names.ALL_SITES`.
    """

    calibration_deg: tuple[float, ...] = (2.0, *(3.0,) * 10)
    """Per axis, constant: inaccurate T-pose, misaligned strap."""
    heading_deg: float = 2.0
    """Constant offset of each sensor's heading."""
    heading_drift_deg_per_s: float = 0.05
    tilt_deg: float = 0.5
    """Tilt error of the orientation filter, which makes gravity leak into the acceleration."""
    wobble_deg: float = 1.0
    """Soft tissue, slow (0.5 to 3 Hz)."""
    noise_deg: float = 0.05
    """White noise per frame; small, since an orientation filter is driven by gyroscopes."""
    acceleration_noise: float = 0.25
    acceleration_bias: float = 0.08
    sensor_offset_m: float = 0.02
    delay: tuple[int, int] = (2, 2)
    """Minimum and maximum delay of the acceleration in frames: the causal filter of the estimator
    has a delay of 2.
    """
    dropout: float = 0.02
    """Probability that a site is lost for part of a sequence (values are held)."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a number is out of range, or ``calibration_deg`` is not one per site.
        """
        count = len(self.calibration_deg)
        if count != len(ALL_SITES):
            raise ValueError(
                f"calibration_deg has {count} numbers, must have one for each of the"
                f" {len(ALL_SITES)} sites"
            )
        check_ranges(self, **{name: (0, limit) for name, limit in _LIMITS.items()})
        # gather reads up to SMOOTHING frames before the delayed one, of MARGIN
        check_interval(self, "delay", 0, MARGIN - SMOOTHING)

    def scaled(self, factor: float) -> "SensorErrors":
        """All errors times a factor, limited to the largest valid ones."""
        rows: dict[str, Any] = {
            name: tuple(min(x * factor, _LIMITS[name]) for x in value)
            if isinstance(value, tuple)
            else min(value * factor, _LIMITS[name])
            for name, value in vars(self).items()
            if name != "delay"
        }
        return SensorErrors(**rows, delay=self.delay)


@dataclass
class Sequence:
    """A batch of sequences as inputs of the network, in the heading frame of the measured waist.

    Attributes:
        imu: (B, T, 48) inputs.
        extra: (B, T, 91) inputs of the optional sites, see `extra_features`.
        rotations: (B, T, 22, 3, 3) true global orientations.
        contacts: (B, T, 2) foot contacts, 0 or 1.
        root_velocity: (B, T, 3) m/s, of the default skeleton.
        heading: (B, T) rad, of the heading frame in the world.
    """

    imu: Tensor
    extra: Tensor
    rotations: Tensor
    contacts: Tensor
    root_velocity: Tensor
    heading: Tensor

    def to(self, device: torch.device) -> "Sequence":
        """The batch on a device."""
        return Sequence(**{name: value.to(device) for name, value in vars(self).items()})

    def wearing(self, sites: tuple[str, ...]) -> Tensor:
        """``extra`` (B, T, 91) with only the given optional sites worn."""
        worn = torch.tensor([float(site in sites) for site in EXTRA_SITES]).to(self.extra)
        masked: Tensor = self.extra.unflatten(-1, (EXTRA, PER_EXTRA)) * worn[:, None]
        return masked.flatten(-2)


def joint_positions(R_world_joint: Tensor, offsets: Tensor) -> Tensor:
    """Positions (..., 22, 3) m relative to the pelvis, from orientations (..., 22, 3, 3) and bone
    offsets (..., 22, 3) m; equation (7) of the report.
    """
    parents = torch.tensor(PARENTS[1:])
    bones = (R_world_joint[..., parents, :, :] @ offsets[..., 1:, :, None])[..., 0]
    return torch.cat(
        (
            torch.zeros_like(bones[..., :1, :]),
            torch.einsum("jk,...kc->...jc", ANCESTORS.to(bones), bones),
        ),
        dim=-2,
    )


def _ancestors() -> Tensor:
    """(21, 21): entry [j, k] is 1 if bone k + 1 is on the path from the pelvis to joint j + 1."""
    out = torch.zeros(21, 21)
    for joint in range(1, 22):
        k = joint
        while k > 0:
            out[joint - 1, k - 1] = 1.0
            k = PARENTS[k]
    return out


ANCESTORS = _ancestors()


def sense(
    q: Tensor,
    root: Tensor,
    contacts: Tensor,
    offsets: Tensor,
    errors: SensorErrors,
    generator: torch.Generator,
    neck_share: Tensor | None = None,
    worn: Tensor | None = None,
) -> Sequence:
    """Simulate the sensors on a batch of motions.

    Args:
        q: (B, T + 16, 22, 4) true global orientations, with `MARGIN` more frames at both ends.
        root: (B, T + 16, 3) m, pelvis in the world.
        contacts: (B, T + 16, 2).
        offsets: (B, 22, 3) m, bones of the wearer, scaled to the default stature.
        errors: standard deviations of the sensor errors.
        generator: of the random numbers.
        neck_share: (B,) position of the neck sensor between spine3 (0) and head (1); random if
            None.
        worn: (B, T, 7) weight of each optional site, 0 to 1; 1 for all if None.
    """
    batch = q.shape[0]
    frames = q.shape[1] - 2 * MARGIN
    share = torch.rand(batch, generator=generator) if neck_share is None else neck_share
    q_site = q[:, :, _JOINTS].clone()
    q_site[:, :, 1] = rotations.nlerp(q[:, :, _SPINE3], q[:, :, _HEAD], share[:, None, None])
    R = rotations.to_matrix(q)
    p_joint = (joint_positions(R, offsets[:, None]) + root[:, :, None])[:, :, _JOINTS]
    core = slice(0, CORE)
    lag = _draw_lag(batch, errors.delay, generator)
    q_core, a_core = _measure(q_site, p_joint, core, lag, errors, generator)
    heading = rotations.heading(q_core[:, :, 0])
    R_heading_world = rotations.to_matrix(rotations.about_z(-heading))
    if worn is None:
        worn = torch.ones(batch, frames, EXTRA)
    extra = torch.zeros(batch, frames, EXTRA_INPUTS)
    if bool(worn.any()):
        measured = _measure(q_site, p_joint, slice(CORE, None), lag, errors, generator)
        extra = extra_features(*measured, R_heading_world, worn)
    velocity = (
        root[:, MARGIN + 1 : frames + MARGIN + 1] - root[:, MARGIN - 1 : frames + MARGIN - 1]
    ) * (MODEL_RATE_HZ / 2)
    return Sequence(
        imu=features(q_core, a_core, R_heading_world),
        extra=extra,
        rotations=R_heading_world[:, :, None] @ R[:, MARGIN:-MARGIN],
        contacts=contacts[:, MARGIN:-MARGIN].float(),
        root_velocity=(R_heading_world @ velocity[..., None])[..., 0],
        heading=heading,
    )


def _draw_lag(batch: int, delay: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.randint(delay[0], delay[1] + 1, (batch, 1), generator=generator)


def _measure(
    q_site: Tensor,
    p_joint: Tensor,
    sites: slice,
    lag: Tensor,
    errors: SensorErrors,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Measured orientations (B, T, S, 4) and accelerations (B, T, S, 3) m/s^2 of some sites, in the
    world, with errors.

    Args:
        q_site: (B, T + 16, 11, 4) true orientations of all sites.
        p_joint: (B, T + 16, 11, 3) m, of the joints that carry them.
        sites: indices of the sites, of the 11.
        lag: (B, 1) delay of the acceleration in frames.
        errors: standard deviations of the sensor errors.
        generator: of the random numbers.
    """
    q_site = q_site[:, :, sites]
    p_joint = p_joint[:, :, sites]
    batch = q_site.shape[0]
    frames = q_site.shape[1] - 2 * MARGIN
    count = q_site.shape[2]

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    where = _PLACES[sites] + errors.sensor_offset_m * draw(batch, 1, count, 3)
    acceleration = _accelerations(p_joint + rotations.rotate(q_site, where), frames, lag)
    q_site = q_site[:, MARGIN:-MARGIN]
    deg = torch.pi / 180
    askew = torch.tensor(errors.calibration_deg[sites])
    calibration = rotations.from_rotvec(draw(batch, 1, count, 3) * askew[:, None] * deg)
    t = torch.arange(frames) / MODEL_RATE_HZ
    heading_error = (
        errors.heading_deg * draw(batch, 1, count)
        + errors.heading_drift_deg_per_s * draw(batch, 1, count) * t[:, None]
    )
    tilt = (
        errors.tilt_deg
        * slow_noise((batch, count, 2), frames, generator, 0.02, 0.3).permute(0, 3, 1, 2)
        * deg
    )
    filter_error = rotations.multiply(
        rotations.about_z(heading_error * deg),
        rotations.from_rotvec(torch.cat((tilt, torch.zeros_like(tilt[..., :1])), -1)),
    )
    wobble = errors.wobble_deg * slow_noise((batch, count, 3), frames, generator).permute(
        0, 3, 1, 2
    ) + errors.noise_deg * draw(batch, frames, count, 3)
    shake = rotations.from_rotvec(wobble * deg)
    q_measured = rotations.multiply(
        rotations.multiply(filter_error, q_site), rotations.multiply(shake, calibration)
    )
    gravity = torch.tensor([0.0, 0.0, MODEL_GRAVITY])
    noise = errors.acceleration_noise * draw(
        batch, frames, count, 3
    ) + errors.acceleration_bias * draw(batch, 1, count, 3)
    a_measured = rotations.rotate(filter_error, acceleration + gravity) - gravity + noise
    return _drop_out(q_measured, a_measured, errors.dropout, generator)


def _accelerations(p: Tensor, frames: int, lag: Tensor) -> Tensor:
    """Second differences (B, T, S, 3) of positions (B, T + 16, S, 3), with a delay (B, 1) in frames
    per sequence.
    """
    middle = torch.arange(frames) + MARGIN - lag

    def at(shift: int) -> Tensor:
        return torch.gather(p, 1, (middle + shift)[..., None, None].expand(-1, -1, *p.shape[2:]))

    return (at(SMOOTHING) - 2 * at(0) + at(-SMOOTHING)) * (MODEL_RATE_HZ / SMOOTHING) ** 2


def extra_features(
    q_world_site: Tensor, acceleration: Tensor, R_heading_world: Tensor, worn: Tensor
) -> Tensor:
    """Inputs of the optional sites (..., 91): per site its weight, and its `features` times this
    weight.

    Args:
        q_world_site: (..., 7, 4) xyzw.
        acceleration: (..., 7, 3) m/s^2 in the world, gravity removed.
        R_heading_world: (..., 3, 3).
        worn: (..., 7) weight of each site, 0 (not worn) to 1.
    """
    own = features(q_world_site, acceleration, R_heading_world).unflatten(-1, (EXTRA, 12))
    return torch.cat((worn[..., None], own * worn[..., None]), dim=-1).flatten(-2)


def features(q_world_site: Tensor, acceleration: Tensor, R_heading_world: Tensor) -> Tensor:
    """Inputs (..., 12 S) of S sites, 48 for the four sites, in the heading frame of the waist: per
    site acceleration / `MODEL_GRAVITY` (3) and rotation matrix, row-major (9).

    Args:
        q_world_site: (..., S, 4) xyzw.
        acceleration: (..., S, 3) m/s^2 in the world, gravity removed.
        R_heading_world: (..., 3, 3).
    """
    a = (R_heading_world[..., None, :, :] @ acceleration[..., None])[..., 0] / MODEL_GRAVITY
    R = R_heading_world[..., None, :, :] @ rotations.to_matrix(q_world_site)
    return torch.cat((a.clamp(-6, 6), R.flatten(-2)), dim=-1).flatten(-2)


def _drop_out(
    q: Tensor, a: Tensor, chance: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Simulate temporarily lost sites: the last measurement is held, as by the synchroniser."""
    batch, frames, sites = q.shape[:3]
    lost = torch.rand(batch, sites, generator=generator) < chance
    start = torch.randint(0, frames, (batch, sites), generator=generator)
    stop = start + torch.randint(1, 30, (batch, sites), generator=generator)
    t = torch.arange(frames)[None, :, None]
    gone = lost[:, None] & (t >= start[:, None]) & (t < stop[:, None])
    index = torch.where(gone, start[:, None].expand(-1, frames, -1), t.expand(batch, -1, sites))[
        ..., None
    ]
    return torch.gather(q, 1, index.expand(-1, -1, -1, 4)), torch.gather(
        a, 1, index.expand(-1, -1, -1, 3)
    )
