"""Net joint moments as efforts about the axes of the operator's URDF."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import PARENTS

F64 = NDArray[np.float64]

_PARENTS = list(PARENTS[1:])


def joint_efforts(moment: F64, angles: F64, R_world_joint: F64) -> F64:
    """Efforts (63,) Nm in the order of `view.human.urdf_joint_names`.

    A URDF joint rotates about x of its parent, then y, then z of its own frame; the effort is the
    component of the moment along each of these axes.

    Args:
        moment: (22, 3) Nm, world axes.
        angles: (63,) rad, about these axes (`view.human.urdf_joint_angles`).
        R_world_joint: (22, 3, 3), joint to world.
    """
    first = angles.reshape(-1, 3)[:, 0]
    parents = R_world_joint[_PARENTS]
    x = parents[:, :, 0]
    y = np.cos(first)[:, None] * parents[:, :, 1] + np.sin(first)[:, None] * parents[:, :, 2]
    z = R_world_joint[1:, :, 2]
    axes = np.stack((x, y, z), axis=1)
    return np.asarray((axes @ moment[1:, :, None])[..., 0].reshape(-1))
