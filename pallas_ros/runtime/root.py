"""Root translation from foot contacts and the network's velocity."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

LONGEST_GAP_S = 0.5
"""After a longer gap the root stays in place, and the feet are assumed to have moved."""

_ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
_TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


class RootTracker:
    """Move the pelvis so that a stance foot stays in place, else by the network's velocity.

    Attributes:
        p_world_pelvis: (3,) m.
        walked: m, horizontal distance so far.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._soles = skeleton.rest_positions[:, 2]
        self._start = skeleton.rest_positions[0]
        self.reset()

    def reset(self, p_world_pelvis: F64 | None = None) -> None:
        """Start at ``p_world_pelvis`` (3,) m, by default above the origin, standing."""
        self.p_world_pelvis = np.array(
            self._start if p_world_pelvis is None else p_world_pelvis, dtype=np.float64
        )
        self.walked = 0.0
        self._last_stamp: int | None = None
        self._last: F64 | None = None

    def step(self, stamp: int, relative: F64, contacts: F64, velocity: F64) -> F64:
        """Return the pelvis position (3,) m at ``stamp`` (ns).

        Args:
            stamp: ns.
            relative: (22, 3) m, joints relative to the pelvis, world axes.
            contacts: (2,) contact probabilities of the left and right foot.
            velocity: (3,) m/s, the network's pelvis velocity in the world.
        """
        foot = int(np.argmax(contacts))
        stands = float(np.clip((contacts[foot] - 0.5) / 0.3, 0.0, 1.0))
        lowest = min(
            float(np.min(relative[points, 2] - self._soles[points])) for points in (_ANKLES, _TOES)
        )
        if self._last_stamp is None or self._last is None:
            self.p_world_pelvis[2] = -lowest
        else:
            elapsed = (stamp - self._last_stamp) / 1e9
            if 0.0 < elapsed <= LONGEST_GAP_S:
                by_network = velocity * elapsed
                # displacements that would each keep that point in place
                moves = [
                    self._last[joint] - relative[joint] for joint in (_ANKLES[foot], _TOES[foot])
                ]
                held = min(moves, key=lambda move: float(np.sum((move - by_network) ** 2)))
                move = stands * held + (1.0 - stands) * by_network
                self.p_world_pelvis = self.p_world_pelvis + move
                self.walked += float(np.hypot(move[0], move[1]))
                # A stance foot pulls the body onto the ground; in flight the network's height is
                # used, with a weak pull.
                self.p_world_pelvis[2] += (0.1 * stands + 0.005) * (
                    -lowest - self.p_world_pelvis[2]
                )
        self._last_stamp = stamp
        self._last = relative
        return self.p_world_pelvis
