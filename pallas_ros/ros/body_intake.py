"""Filter messages by publisher and rate before they are deserialised."""

from dataclasses import replace
from functools import partial
from typing import Any, Final

from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.body.presence import MOST_BODIES, id_of_publisher
from pallas_ros.ros.intake import Intake, OnePublisher, RateLimit
from pallas_ros.ros.matching import publisher_names

BODIES_HZ: Final = 4 * MODEL_RATE_HZ * MOST_BODIES
"""Highest rate of bodies per publisher, for all people together."""


class BodyIntake(Intake):
    """Intake that renames the bodies of a later publisher of its topic.

    A publisher that replaces another may show another person, or its own count of ids. Under a new
    id its bodies move the arm only after another engagement.
    """

    def __init__(self, publisher: OnePublisher, rate: float = BODIES_HZ) -> None:
        """Accept the messages of ``publisher``, at most at ``rate`` Hz."""
        super().__init__(RateLimit(rate), publisher)
        self._one = publisher

    def renamed(self, body: BodyFrame) -> BodyFrame:
        """The body under the id with which it is passed on (`own_id`)."""
        return replace(body, body_id=self.own_id(body.body_id))

    def own_id(self, body_id: str) -> str:
        """The id of a body of the accepted publisher, under which it is passed on."""
        return id_of_publisher(body_id, self._one.number)


def body_intake(node: Any, topic: str, expected: str) -> BodyIntake:
    """Accept one publisher of ``topic`` at a time, at most at `BODIES_HZ`.

    A node keeps it when it is configured again, so that no publisher is forgotten.

    Args:
        node: the ROS node that subscribes.
        topic: its topic.
        expected: name of the publishing node; empty to keep the first publisher until it is silent.
    """
    names = partial(publisher_names, node, topic)
    return BodyIntake(OnePublisher(names, lambda: True, expected, until_silent=True))


def sensor_intake(rate: float) -> Intake:
    """Accept one publisher of a sensor's topic at a time, at most at ``rate`` Hz."""
    return Intake(RateLimit(rate), OnePublisher(dict, lambda: True, until_silent=True))


def rejected_remark(intake: Intake, topic: str, what: str = "bodies") -> str:
    """A sentence about messages of other publishers rejected since the last call; empty if none.

    ``what`` is the plural of what the topic carries.
    """
    count = intake.newly_rejected()
    if not count:
        return ""
    return (
        f"{count} {what} of another publisher of {topic} were rejected, because one publisher is "
        "read at a time: stop one of them"
    )
