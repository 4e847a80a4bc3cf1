"""Whether successive bodies of one id can be the same person, and who counts as in view.

Trackers reassign ids, so the id of the operator may later belong to another person. So may the same
id from another publisher, which is renamed (`id_of_publisher`).
"""

from typing import Final

IN_VIEW_NS: Final = 500_000_000
"""ns, time after the last body for which a person counts as in view."""
MOST_BODIES: Final = 4
"""People who are followed at once."""
_PUBLISHER: Final = "_publisher"
_STEP_M: Final = 0.5
_PACE_M_S: Final = 2.0
_LONGEST_PACE_S: Final = 0.25


def farthest_step_m(unseen_s: float) -> float:
    """Largest horizontal distance in m between successive pelvis positions of one person.

    It allows for an error of the estimator, plus a brisk walk for the time unseen, 0.25 s at most:
    1 m in all, since people stand about 1 m apart.
    """
    return _STEP_M + _PACE_M_S * min(max(unseen_s, 0.0), _LONGEST_PACE_S)


def id_of_publisher(body_id: str, number: int) -> str:
    """The id under which a body of the publisher ``number`` (from 1) of a topic is passed on.

    Every node that passes it on appends its number, except 1 as long as all are 1: ``operator``,
    ``operator_publisher2``, ``operator_publisher2.1``. After a given number of nodes, different
    publishers therefore have different ids.
    """
    if _split(body_id)[1]:
        return f"{body_id}.{number}"
    return body_id if number <= 1 else f"{body_id}{_PUBLISHER}{number}"


def plain_id(body_id: str) -> str:
    """The id that the first publisher gave to the body."""
    return _split(body_id)[0]


def same_publisher(one: str, other: str) -> bool:
    """Whether bodies of these two ids come from the same publishers."""
    return _split(one)[1] == _split(other)[1]


def _split(body_id: str) -> tuple[str, str]:
    """Split an id before the numbers of its publishers at the end (`id_of_publisher`)."""
    # not a regular expression: its time would grow with the square of the length of a hostile id
    plain, found, numbers = body_id.rpartition(_PUBLISHER)
    if found and all(number.isdecimal() for number in numbers.split(".")):
        return plain, numbers
    return body_id, ""
