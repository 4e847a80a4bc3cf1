"""The generator `pose`: moves to a posture sampled for the text, and holds it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.flow import past_of
from hpstm_ros.generation.poses import PoseSampler
from hpstm_ros.generation.representation import FPS, Place
from hpstm_ros.generation.request import Progress, Request, resting
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import to_global, to_local

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SPEED_RAD_S: Final = 1.5
"""rad/s, mean speed of the joint with the largest rotation: people reach at 1 to 2 rad/s."""
SHORTEST_S: Final = 0.8
HELD_SHARE: Final = 0.25
"""Minimum share of the motion in which the pose is held."""
_RAMP: Final = 3.5
"""Ratio of the last guidance to the first: the schedule of the source goes from 2 to 7."""


class PoseGenerator:
    """Generates motions to postures; a `hpstm_ros.generation.request.Generator`.

    Args:
        sampler: of the postures; the released one by default.
    """

    def __init__(self, sampler: PoseSampler | None = None) -> None:
        self._sampler = sampler or PoseSampler()

    def generate(self, request: Request, progress: Progress) -> F32:
        """See `hpstm_ros.generation.request.Generator`.

        Raises:
            PallasError: the request has no text.
        """
        if not request.text:
            raise PallasError("a pose needs a text: describe what it should look like")
        progress("drawing poses", 0.0)
        guidance = (request.guidance, _RAMP * request.guidance)
        poses = self._sampler.sample(
            request.text, request.candidates, request.seed, guidance=guidance
        )
        progress("drawing poses", 1.0)
        past = past_of(request)
        if not len(past):
            past, _ = rep.from_motion(resting())
        q, root, _ = rep.decode(past[-1])
        return np.stack(
            [
                _path(q, root, *goal, request.frames)
                for goal in zip(poses.rotations, poses.root, strict=True)
            ]
        )


def _path(q: F64, root: F64, q_goal: F64, root_goal: F64, frames: int) -> F32:
    """Features (T, 137) of a minimum-jerk motion (Flash 1985) to the goal, which is then held."""
    start = to_local(q)
    goal = to_local(q_goal)
    furthest = float(np.max(rotations.angle_between(start, goal)))
    seconds = min(max(furthest / SPEED_RAD_S, SHORTEST_S), (1 - HELD_SHARE) * frames / FPS)
    s = np.clip((np.arange(frames) + 1) / (seconds * FPS), 0, 1)
    part = s**3 * (10 - 15 * s + 6 * s**2)
    local = rotations.slerp(start[None], goal[None], part[:, None])
    path = root + part[:, None] * [0.0, 0.0, root_goal[2] - root[2]]
    features = rep.encode(to_global(local), path, np.zeros((frames, 2)), Place())
    features[:, rep.CONTACTS] = rep.estimated_contacts(rep.positions(features), FPS)
    return features
