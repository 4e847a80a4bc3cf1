"""The representation of generated motion in torch: differentiable forward kinematics.

The counterpart of `hpstm_ros.generation.representation`, which defines the features.
"""

import torch
from torch import Tensor, nn

from hpstm_ros.generation.representation import R6D, ROOT
from hpstm_ros.model.geometry import gram_schmidt
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

J = len(JOINTS)


class FeatureKinematics(nn.Module):
    """Positions of the default body from features, with constant bone lengths."""

    parent: Tensor
    offsets: Tensor
    ancestors: Tensor

    def __init__(self) -> None:
        super().__init__()
        ancestors = torch.zeros(J, J)
        for joint in range(J):
            at = joint
            while at > 0:
                ancestors[joint, at] = 1.0
                at = PARENTS[at]
        offsets = torch.from_numpy(Skeleton.from_height().offsets.copy()).float()
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("ancestors", ancestors, persistent=False)
        self.register_buffer("parent", torch.tensor([max(p, 0) for p in PARENTS]), persistent=False)

    def matrices(self, features: Tensor) -> Tensor:
        """Global rotation matrices (..., 22, 3, 3) of features (..., 137)."""
        r6d = features[..., R6D]
        r6d = r6d.reshape(*r6d.shape[:-1], J, 6)
        return gram_schmidt(r6d[..., :3], r6d[..., 3:])

    def relative(self, R: Tensor) -> Tensor:
        """Positions (..., 22, 3) m relative to the pelvis, from global rotations (..., 22, 3,
        3).
        """
        bones = (R.index_select(-3, self.parent) * self.offsets[:, None]).sum(-1)
        return self.ancestors @ bones

    def forward(self, features: Tensor) -> Tensor:
        """Positions (..., 22, 3) m in the frame of the window, from features (..., 137)."""
        return features[..., None, ROOT] + self.relative(self.matrices(features))
