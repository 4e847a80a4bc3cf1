"""What Pinocchio knows of a joint: does it slide, and does it follow another?"""

from dataclasses import dataclass

import pinocchio as pin


@dataclass(frozen=True, slots=True)
class JointMotion:
    """How a joint moves with a model's configuration.

    Attributes:
        column: of the configuration and of its velocity, where the joint's motion comes from.
        slides: it is a slide and not a hinge.
        own: it moves by itself; else its position is ``ratio`` times that of the joint it mimics,
            plus ``offset``.
        ratio, offset: 1 and 0 of a joint that moves by itself.
    """

    column: int
    slides: bool
    own: bool
    ratio: float
    offset: float


def joint_motion(model: pin.Model, joint: int) -> JointMotion:
    """Of a joint by its id; all joints of the model have one degree of freedom."""
    kind = model.joints[joint]
    column = int(model.idx_vs[joint])
    if model.nvs[joint] == 1:
        return JointMotion(column, kind.shortname().startswith("JointModelP"), True, 1.0, 0.0)
    mimic = kind.extract()
    slides = "JointModelP" in str(mimic)  # Pinocchio shows the type only when it prints the joint
    return JointMotion(column, slides, False, float(mimic.scaling), float(mimic.offset))
