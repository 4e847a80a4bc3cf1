"""Properties of the augmentations, for any motion and seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from torch import Tensor  # noqa: E402

from pallas_ros.body.names import JOINTS  # noqa: E402
from pallas_ros.data import draws  # noqa: E402
from pallas_ros.data.augmentation import bodies, keyed, paths, swings, trunk  # noqa: E402
from pallas_ros.data.augmentation.limbs import (  # noqa: E402
    ARM_CHAIN,
    ARMS,
    CHEST,
    HEAD,
    LEGS,
    PELVIS,
    chained,
    hung_on,
    relative,
    replaced,
    to_parents,
)
from pallas_ros.geometry import rotations  # noqa: E402

FRAMES = 24
SEEDS = st.integers(0, 2**32)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def motion(g: torch.Generator, count: int = 3) -> tuple[Tensor, Tensor]:
    """Bodies (B, T, 22, 4) whose joints turn slowly and differently, and their trajectories (B, T,
    3).
    """
    start = draws.normal(g, count, 1, len(JOINTS), 3)
    speed = 0.05 * draws.normal(g, count, 1, len(JOINTS), 3)
    t = torch.arange(FRAMES)[:, None, None]
    q = rotations.from_rotvec(start + speed * t)
    return q, torch.cumsum(0.05 * draws.normal(g, count, FRAMES, 3), dim=1)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether quaternions describe the same rotations."""
    return bool(((a * b).sum(-1).abs() > 1 - 1e-5).all())


def unit(q: Tensor) -> bool:
    return bool(((q.norm(dim=-1) - 1).abs() < 1e-4).all())


@given(SEEDS)
def test_mirrored_twice_motion_is_what_it_was(seed: int) -> None:
    q, root = motion(generator(seed))
    which = torch.tensor([True, False, True])
    q_once, root_once = bodies.mirror(which, q, root)
    assert torch.equal(q_once[1], q[1]) and torch.equal(root_once[1], root[1])
    assert not torch.equal(q_once[0], q[0])
    q_twice, root_twice = bodies.mirror(which, q_once, root_once)
    assert torch.equal(q_twice, q) and torch.equal(root_twice, root)


@given(SEEDS)
def test_a_turned_body_keeps_its_pose_and_the_length_of_its_way(seed: int) -> None:
    g = generator(seed)
    q, root = motion(g)
    angle = draws.uniform(g, -torch.pi, torch.pi, len(q))
    for turn in (rotations.about_z(angle), bodies.lying(q, angle)):
        q_turned, root_turned = bodies.turn(turn, q, root)
        assert same(to_parents(q_turned, range(1, 22)), to_parents(q, range(1, 22)))
        torch.testing.assert_close(
            root_turned.diff(dim=1).norm(dim=-1), root.diff(dim=1).norm(dim=-1)
        )


@given(SEEDS)
def test_a_limb_hung_on_is_turned_to_its_new_trunk_as_to_its_own(seed: int) -> None:
    g = generator(seed)
    q, _ = motion(g)
    donor, _ = motion(g)
    rows = torch.tensor([0, 2])
    for limb, base in ((ARMS[0], CHEST), (ARMS[1], CHEST), (HEAD, CHEST), (LEGS[0], PELVIS)):
        joints = list(limb)
        hung = hung_on(q[rows, :, base], donor[rows, :, base], donor[rows][:, :, joints])
        out = replaced(q, rows, limb, hung)
        assert same(
            relative(out[rows, :, base, None], out[rows][:, :, joints]),
            relative(donor[rows, :, base, None], donor[rows][:, :, joints]),
        )
        others = [joint for joint in range(len(JOINTS)) if joint not in limb]
        assert torch.equal(out[:, :, others], q[:, :, others])
        assert torch.equal(out[1], q[1])


@given(SEEDS)
def test_orientations_along_a_chain_come_back(seed: int) -> None:
    q, _ = motion(generator(seed))
    local = torch.cat((q[:, :, :1], to_parents(q, range(1, len(JOINTS)))), dim=2)
    assert same(chained(local), q)


@given(SEEDS, st.integers(2, 90))
def test_paths_go_from_key_to_key_and_never_back(seed: int, frames: int) -> None:
    g = generator(seed)
    for path in (
        paths.timed(g, 5, frames, keyed.KEYS),
        paths.brisk(g, 5, frames, keyed.KEYS),
    ):
        assert ((path.part >= 0) & (path.part < 1 + 1e-5)).all()
        assert ((path.segment >= 0) & (path.segment < keyed.KEYS - 1)).all()
        assert (places(path).diff(dim=1) >= -1e-5).all()


@given(SEEDS)
def test_paths_are_continuous(seed: int) -> None:
    g = generator(seed)
    # the fastest move, of 0.12 s with minimum jerk, gets on by 1.875 / (0.12 * 60) keys a frame
    assert (places(paths.brisk(g, 5, 90, keyed.KEYS)).diff(dim=1) < 0.27).all()
    # the whole of at most 10 s in so many frames, a move in 0.125 s with 1.5 times its mean speed
    assert (places(paths.timed(g, 5, 4096, keyed.KEYS)).diff(dim=1) < 0.03).all()


def places(path: paths.Path) -> Tensor:
    """Number of preceding keys, (N, T)."""
    return paths.between(torch.arange(keyed.KEYS).float().expand(len(path.part), -1), path)


@given(SEEDS)
def test_limbs_between_key_poses_are_rotations_that_do_not_jump(seed: int) -> None:
    g = generator(seed)
    keys = to_parents(motion(g, 4)[0][:, : keyed.KEYS], ARMS[0])
    path = paths.timed(g, 4, 90, keyed.KEYS)
    for local in (keys, keyed.turned(g, keys), keyed.anywhere(g, keys, 0)):
        for signed in (paths.successive(local), paths.like_the_first(local)):
            assert same(signed, local)
        arm = chained(paths.along(paths.successive(local), path), ARM_CHAIN)
        assert unit(arm)
        still = paths.Path(path.segment, torch.zeros_like(path.part))
        assert same(paths.along(local, still), local[torch.arange(4)[:, None], path.segment]), (
            "at a key is its pose"
        )


@given(SEEDS, st.sampled_from([0, 1]))
def test_swung_and_bent_motion_is_of_rotations(seed: int, side: int) -> None:
    g = generator(seed)
    q, _ = motion(g)
    arm = q[:, :, list(ARMS[side])]
    swung = swings.swung_forearm(g, swings.turned_arm(g, arm, 8.0, 15.0), side)
    assert unit(swung) and torch.equal(swung[:, :, 0], arm[:, :, 0])
    bent = trunk.legs_turned(g, trunk.bent(g, q, 4.0, 1.0), 3.0)
    assert unit(bent)
    for turns in (swings.smooth_turns(g, 3, FRAMES), swings.shaking(g, 3, FRAMES)):
        assert unit(turns) and torch.isfinite(turns).all()
    limbs = [joint for arm_joints in ARMS for joint in arm_joints]
    assert torch.equal(bent[:, :, limbs], q[:, :, limbs])


@given(SEEDS)
def test_nothing_to_change_changes_nothing(seed: int) -> None:
    g = generator(seed)
    q, _ = motion(g)
    none = torch.empty(0, dtype=torch.long)
    assert torch.equal(replaced(q, none, ARMS[0], q[none][:, :, list(ARMS[0])]), q)
    assert paths.wander(g, 0, FRAMES, torch.ones(3)).shape == (0, FRAMES, 3)
    assert swings.shaking(g, 0, FRAMES).shape == (0, FRAMES, len(JOINTS), 4)
