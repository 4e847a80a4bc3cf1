"""Whether successive bodies of one id can be the same person, and who counts as in view.

Trackers reassign ids, so that the id of the operator can be handed on to somebody else.
"""

from typing import Final

IN_VIEW_NS: Final = 500_000_000
"""ns, time after the last body for which a person counts as in view."""
MOST_BODIES: Final = 4
"""People who are followed at once."""
_STEP_M: Final = 0.5
_PACE_M_S: Final = 2.0
_LONGEST_PACE_S: Final = 0.25


def farthest_step_m(unseen_s: float) -> float:
    """Largest horizontal distance in m between successive pelvis positions of one person.

    It allows for an error of the estimator, plus a brisk walk for the time unseen, 0.25 s at most:
    1 m in all, since people stand about 1 m apart.
    """
    return _STEP_M + _PACE_M_S * min(max(unseen_s, 0.0), _LONGEST_PACE_S)
