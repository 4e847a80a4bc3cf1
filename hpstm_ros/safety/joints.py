"""Joint properties from Pinocchio: prismatic or revolute, mimic or independent."""

from dataclasses import dataclass

import pinocchio as pin


@dataclass(frozen=True, slots=True)
class JointMotion:
    """How a joint depends on a model's configuration.

    Attributes:
        column: index in the configuration and its velocity that determines the joint's position.
        slides: whether the joint is prismatic, not revolute.
        own: whether the joint is independent; the position of a mimic joint is ``ratio`` times that
            of its master, plus ``offset``.
        ratio, offset: 1 and 0 for an independent joint.
    """

    column: int
    slides: bool
    own: bool
    ratio: float
    offset: float


def joint_motion(model: pin.Model, joint: int) -> JointMotion:
    """The motion of a joint, by its id; all joints of the model have one degree of freedom."""
    kind = model.joints[joint]
    column = int(model.idx_vs[joint])
    if model.nvs[joint] == 1:
        return JointMotion(column, kind.shortname().startswith("JointModelP"), True, 1.0, 0.0)
    mimic = kind.extract()
    slides = "JointModelP" in str(mimic)  # Pinocchio exposes the type only in the printed joint
    return JointMotion(column, slides, False, float(mimic.scaling), float(mimic.offset))
