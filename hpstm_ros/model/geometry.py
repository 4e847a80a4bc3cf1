"""The manifold of bodies with constant bone lengths, in torch: joint frames from points, projection
of points, forward kinematics.

All functions are equivariant to rotation, for any orientation of the body. They process batches
with a few dozen small operations, which take a fraction of a millisecond in ONNX Runtime.
"""

import torch
from torch import Tensor, nn

from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

J = len(JOINTS)
PARENT = [max(parent, 0) for parent in PARENTS]
CHILDREN = {joint: [c for c in range(J) if PARENTS[c] == joint] for joint in range(J)}
PELVIS = 0
CHEST = JOINT_INDEX["spine3"]
TRUNK = [
    JOINT_INDEX[n]
    for n in (
        "pelvis",
        "left_hip",
        "right_hip",
        "spine1",
        "spine2",
        "spine3",
        "neck",
        "left_collar",
        "right_collar",
    )
]
_LEVELS = tuple(
    [JOINT_INDEX[n] for n in names.split()]
    for names in (
        (
            "spine1 spine2 neck left_collar right_collar left_hip right_hip left_shoulder"
            " right_shoulder"
        ),
        "left_knee right_knee left_elbow right_elbow",
        "left_ankle right_ankle",
    )
)
"""Joints with one distal bone, in the order in which their frames are computed: each from its guess
(see `_GUESS`), which belongs to an earlier level.
"""
_GUESS = {
    j: PELVIS if JOINTS[j].endswith(("spine1", "spine2", "hip")) else CHEST for j in _LEVELS[0]
} | {j: PARENTS[j] for level in _LEVELS[1:] for j in level}
_LEAVES = [j for j in range(J) if not CHILDREN[j]]
_NEAR_M = 0.12
"""m, distance in the T-pose within which joints of the trunk replace an unobserved one."""


def _main_child(joint: int) -> int:
    """The child whose bone defines the primary direction of a joint."""
    if len(CHILDREN[joint]) == 1:
        return CHILDREN[joint][0]
    return JOINT_INDEX["spine1" if joint == PELVIS else "neck"]


def take(x: Tensor, joints: list[int]) -> Tensor:
    """Select joints of a tensor (B, Q, joints, ...)."""
    return x.index_select(2, torch.tensor(joints, device=x.device))


def unit(x: Tensor, least: float = 1e-12) -> Tensor:
    """Unit vectors along x (..., 3); shorter if x is shorter than the square root of ``least``."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True).clamp_min(least))


def rotate(R_a_b: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors (..., 3) from frame b to frame a by matrices (..., 3, 3)."""
    return (R_a_b * v[..., None, :]).sum(-1)


def swing(a: Tensor, b: Tensor, R: Tensor) -> Tensor:
    """Rotate matrices R (..., 3, 3) by the shortest rotation from unit vectors a to b (..., 3).

    Computed by two reflections, without sine and cosine.
    """
    h = unit(a + b, 1e-6)
    R = R - 2 * a[..., :, None] * (a[..., None, :] @ R)
    return R - 2 * h[..., :, None] * (h[..., None, :] @ R)


def gram_schmidt(a: Tensor, b: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) with columns x along a (..., 3), y in the plane of a and b
    (..., 3), and z perpendicular to both (Zhou et al. 2019).
    """
    x = unit(a)
    y = unit(b - (x * b).sum(-1, keepdim=True) * x)
    z = torch.stack(
        (
            x[..., 1] * y[..., 2] - x[..., 2] * y[..., 1],
            x[..., 2] * y[..., 0] - x[..., 0] * y[..., 2],
            x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0],
        ),
        dim=-1,
    )
    return torch.stack((x, y, z), dim=-1)


def turn_by(t: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of the normalised quaternions (t, 1) with t (..., 3); a
    small t is half a rotation vector.
    """
    q = torch.cat((t, torch.ones_like(t[..., :1])), -1)
    x, y, z, w = unit(q).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )
    return torch.stack(rows, -1).reshape(*t.shape, 3)


class Bones(nn.Module):
    """Geometry of the skeleton. Points are (B, Q, 22, 3) m, lengths (B, 22) m, matrices (B, Q, 22,
    3, 3) joint to world.

    Args:
        rounds: iterations of the projection.
    """

    lengths: Tensor
    rest: Tensor
    incidence: Tensor
    degree: Tensor
    ancestors: Tensor
    reach: Tensor
    trunk: Tensor
    axis: Tensor
    free_axes: Tensor
    R_rest: Tensor
    tiny: Tensor

    def __init__(self, rounds: int = 6) -> None:
        super().__init__()
        self.rounds = rounds
        offsets = torch.from_numpy(Skeleton.from_height().offsets.copy()).float()
        lengths = offsets.norm(dim=-1)
        ancestors = torch.zeros(J, J)
        for joint in range(J):
            at = joint
            while at:
                ancestors[joint, at] = 1.0
                at = PARENTS[at]
        self._siblings = [
            (a, b)
            for p in (PELVIS, CHEST)
            for k, a in enumerate(CHILDREN[p])
            for b in CHILDREN[p][k + 1 :]
        ]
        incidence = torch.zeros(J - 1 + len(self._siblings), J)
        for row, (a, b) in enumerate([(PARENTS[j], j) for j in range(1, J)] + self._siblings):
            incidence[row, a] = -1.0
            incidence[row, b] = 1.0
        tpose = ancestors @ offsets
        reach = torch.exp(-((torch.cdist(tpose, tpose) / _NEAR_M) ** 2)) + 1e-4
        reach.fill_diagonal_(0.0)
        trunk = torch.zeros(J, 1)
        axis = torch.zeros(J, 3)
        free_axes = torch.zeros(J, 1)
        trunk[TRUNK] = 1.0
        free_axes[_LEAVES] = 1.0
        for joint in (j for level in _LEVELS for j in level):
            axis[joint] = offsets[_main_child(joint)] / lengths[_main_child(joint)]
        rest = offsets / lengths.clamp_min(1e-6)[:, None]
        core = [
            gram_schmidt(rest[_main_child(p)], self._across(offsets, p)).T for p in (PELVIS, CHEST)
        ]
        for name, value in {
            "lengths": lengths,
            "rest": rest,
            "incidence": incidence,
            "degree": incidence.abs().sum(0),
            "ancestors": ancestors,
            "reach": reach,
            "trunk": trunk,
            "axis": axis,
            "free_axes": free_axes,
            "R_rest": torch.stack(core),
            "tiny": 1e-4 * torch.eye(3)[[2, 1]],
        }.items():
            self.register_buffer(name, value.contiguous(), persistent=False)

    @staticmethod
    def _across(points: Tensor, joint: int) -> Tensor:
        """Vector from the right to the left child of the pelvis or the chest."""
        left, right = [c for c in CHILDREN[joint] if c != _main_child(joint)]
        return points[..., left, :] - points[..., right, :]

    def _core(self, points: Tensor) -> Tensor:
        """Frames (B, Q, 2, 3, 3) of pelvis and chest, which have three bones each."""
        # the tiny vectors matter only if all these joints are missing and coincide
        along = (
            torch.stack(
                [points[..., _main_child(p), :] - points[..., p, :] for p in (PELVIS, CHEST)], -2
            )
            + self.tiny[0]
        )
        across = torch.stack([self._across(points, p) for p in (PELVIS, CHEST)], -2) + self.tiny[1]
        return gram_schmidt(along, across) @ self.R_rest

    def stretch(self, points: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Excess length of each bone along its direction (B, Q, 22, 3) m, 0 for the pelvis, and the
        sum over the distal bones of each joint.
        """
        bone = self.incidence[: J - 1] @ points
        length = (bone * bone).sum(-1, keepdim=True).clamp_min(1e-8).sqrt()
        excess = bone * (1 - lengths[:, None, 1:, None] / length)
        none = torch.zeros_like(points[:, :, :1])
        after = -self.incidence[: J - 1].clamp_max(0.0).T @ excess
        return torch.cat((none, bone / length), 2), torch.cat((none, excess), 2), after

    def frames(self, points: Tensor, lengths: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Place missing joints, by the mask ``there`` (B, Q, 22) from 0 to 1, using their
        neighbours, and compute a frame for every joint.

        A frame is its guess (that of the trunk, or of the proximal segment), rotated by the
        shortest rotation that aligns its bone.
        """
        there = there[..., None]
        near = (self.reach @ (there * points)) / (self.reach @ there).clamp_min(1e-6)
        points = points + self.trunk * (1 - there) * (near - points)
        there = torch.maximum(there, self.trunk)
        core = self._core(points)
        order = [PELVIS, CHEST]
        R = core
        for level in _LEVELS:
            child = [_main_child(j) for j in level]
            guess = take(R, [order.index(_GUESS[j]) for j in level])
            along = rotate(guess, self.rest[child])
            here = take(points, level)
            bone = take(lengths[:, None], child)[..., None]
            seen = take(there, child)
            after = take(points, child)
            to = unit(seen * (after - here) + (1 - seen) * bone * along)
            found = swing(along, to, guess)
            new = dict(zip(child, range(len(child)), strict=True))
            blend = after + (1 - seen) * (here + bone * to - after)
            points = take(
                torch.cat((points, blend), 2), [J + new[j] if j in new else j for j in range(J)]
            )
            R = torch.cat((R, found), 2)
            order = order + level
        return points, take(R, [order.index(j if CHILDREN[j] else PARENTS[j]) for j in range(J)])

    def project(self, points: Tensor, lengths: Tensor, mobility: Tensor) -> Tensor:
        """Move points, each in proportion to its mobility (B, Q, 22), until bones and the rigid
        pelvis and chest have approximately their lengths.

        A few Jacobi iterations on the constraints (position-based dynamics, Mueller et al. 2007).
        """
        apart = [
            (self.rest[a] * lengths[:, a, None] - self.rest[b] * lengths[:, b, None])
            .square()
            .sum(-1)
            .sqrt()
            for a, b in self._siblings
        ]
        target = torch.cat((lengths[:, 1:], torch.stack(apart, -1)), -1)[:, None]
        share = 1 / (mobility @ self.incidence.abs().T)
        step = (1.5 * mobility / self.degree)[..., None]
        for _ in range(self.rounds):
            d = self.incidence @ points
            length = (d * d).sum(-1).clamp_min(1e-8).sqrt()
            points = points - step * (
                self.incidence.T @ ((share * (1 - target / length))[..., None] * d)
            )
        return points

    def place(
        self, points: Tensor, lengths: Tensor, guess: Tensor, turn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The body on the manifold nearest to points: positions by forward kinematics, and joint
        orientations.

        Args:
            points: about on the manifold.
            lengths: of the bones.
            guess: frames, as returned by `frames`.
            turn: (B, Q, 22, 3) half rotation vectors in the joints' frames: about the bone of a
                joint, if it has one; free at the ends of limbs.
        """
        single = [j for level in _LEVELS for j in level]
        child = [_main_child(j) for j in single]
        own = take(guess, single)
        to = unit(take(points, child) - take(points, single))
        order = [PELVIS, CHEST, *single]
        R = torch.cat((self._core(points), swing(rotate(own, self.rest[child]), to, own)), 2)
        R = take(R, [order.index(j if CHILDREN[j] else PARENTS[j]) for j in range(J)])
        # unit() again, so that rounding errors of matrix products do not affect the bone lengths
        placed = self.ancestors @ (
            unit(rotate(take(R, PARENT), self.rest)) * lengths[:, None, :, None]
        )
        placed = placed + (points - placed).mean(2, keepdim=True)
        about = turn * self.free_axes + self.axis * (turn * self.axis).sum(-1, keepdim=True)
        return placed, R @ turn_by(about)
