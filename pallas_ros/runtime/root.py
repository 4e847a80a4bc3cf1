"""Root translation from foot contacts and the network's velocity."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

LONGEST_GAP_S = 0.5
"""After a longer gap the root stays in place, and the feet are assumed to have moved."""

BEGINS = 0.3
STANDS = 0.6
"""Contact probabilities from which a foot counts, and counts fully."""
PULL = 0.03
"""Share of the height above the ground by which a stance foot pulls the body down, every step.

These three, and both feet bearing the body, were chosen on validation subjects: 9.7 cm/s of slide
and 2.28 m of drift per 10 m; with the better foot alone, 0.5, 0.8 and 0.1, it was 10.2 and 2.40.
"""

_FEET = [JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot") for side in ("left", "right")]
"""The ankles, then the toes."""


class RootTracker:
    """Move the pelvis so that the stance feet stay in place, else by the network's velocity.

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
        share = [_share(contact) for contact in contacts.tolist()]
        stands = max(share)
        feet = relative[_FEET]
        lowest = float((feet[:, 2] - self._soles[_FEET]).min())
        if self._last_stamp is None or self._last is None:
            self.p_world_pelvis[2] = -lowest
        else:
            elapsed = (stamp - self._last_stamp) / 1e9
            if 0.0 < elapsed <= LONGEST_GAP_S:
                by_network = velocity * elapsed
                held = (
                    share[0] * self._held(0, feet, by_network)
                    + share[1] * self._held(1, feet, by_network)
                ) / max(share[0] + share[1], 1e-9)
                move = stands * held + (1.0 - stands) * by_network
                self.p_world_pelvis = self.p_world_pelvis + move
                self.walked += float(np.hypot(move[0], move[1]))
                # A stance foot pulls the body onto the ground; in flight the network's height is
                # used, with a weak pull.
                self.p_world_pelvis[2] += (PULL * stands + 0.005) * (
                    -lowest - self.p_world_pelvis[2]
                )
        self._last_stamp = stamp
        self._last = feet
        return self.p_world_pelvis

    def _held(self, foot: int, feet: F64, by_network: F64) -> F64:
        """Return the step (3,) m that keeps ankle or toe of ``foot`` in place, whichever is nearer
        to the network's; ``feet``: (4, 3) m, as `_FEET`.
        """
        assert self._last is not None
        moves = self._last[foot::2] - feet[foot::2]
        off = np.square(moves - by_network).sum(axis=1)
        return np.asarray(moves[off.argmin()])


def _share(contact: float) -> float:
    """How far a foot with this contact probability counts, 0 to 1."""
    return min(max((contact - BEGINS) / (STANDS - BEGINS), 0.0), 1.0)
