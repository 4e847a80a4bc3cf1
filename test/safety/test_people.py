"""Choice of the operator, the lock on the operator, and rejection of other people."""

import numpy as np
import pytest

from hpstm_ros.safety.people import OperatorSettings, People
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import IDENTITY
from pallas_ros.body.skeleton import Skeleton

NS = 1_000_000_000
FRAME = NS // 60
REST = Skeleton.from_height().rest_positions
WRIST = JOINT_INDEX["right_wrist"]
HEAD = JOINT_INDEX["head"]


def body(name: str, x: float, y: float = 0.0, hand_up: bool = False) -> BodyFrame:
    positions = REST + np.array([x, y, 0.0])
    if hand_up:
        positions[WRIST, 2] = positions[HEAD, 2] + 0.2
    return BodyFrame(
        0,
        np.tile(IDENTITY, (22, 1)),
        positions,
        None,
        np.ones(22, bool),
        np.ones(22),
        np.zeros(2),
        0,
        name,
    )


class Room:
    """People observed frame by frame."""

    def __init__(self, **settings: object) -> None:
        self.people = People(OperatorSettings(**settings))  # type: ignore[arg-type]
        self.now = NS
        self.operator = None
        self.engagement = 0

    def see(self, *bodies: BodyFrame, frames: int = 1) -> list[str]:
        """Return who was allowed to lead in the last frame."""
        for _ in range(frames):
            self.now += FRAME
            led = []
            for b in bodies:
                if not self.people.refuses(self.now, b, self.operator, self.engagement):
                    self.people.accepted(self.now, b, self.engagement)
                    led.append(b.body_id)
        return led

    def engage(self) -> None:
        self.operator = self.people.candidate  # type: ignore[assignment]
        self.engagement += 1


def test_the_nearest_is_chosen_and_kept_until_another_is_clearly_nearer() -> None:
    room = Room()
    assert room.see(body("far", 2.0), body("near", 1.0), frames=5) == ["near"]
    assert room.see(body("far", 0.9), body("near", 1.0), frames=5) == ["near"]
    assert room.see(body("far", 0.5), body("near", 1.0), frames=5) == ["far"]
    assert room.people.in_view(room.now) == ["far", "near"]


def test_the_nearest_person_is_chosen_by_place() -> None:
    room = Room(place=(3.0, 0.0))
    assert room.see(body("far", 2.0), body("near", 1.0), frames=5) == ["far"]


def test_only_the_body_with_the_requested_id_is_followed() -> None:
    room = Room(operator_id="anna")
    assert room.see(body("ben", 0.0), frames=60) == []
    assert room.see(body("ben", 0.0), body("anna", 3.0), frames=5) == ["anna"]


def test_the_requested_id_of_another_publisher_is_followed_after_another_engage() -> None:
    room = Room(operator_id="anna")
    room.see(body("anna", 0.0), frames=30)
    room.engage()
    assert room.see(body("anna_publisher2", 0.0), frames=60) == []
    other = Room(operator_id="anna")
    assert other.see(body("anna_publisher2", 0.0), frames=5) == ["anna_publisher2"]


def test_a_raised_hand_chooses_and_a_short_one_does_not() -> None:
    room = Room(choice="raised_hand")
    assert room.see(body("anna", 0.0), body("ben", 1.0), frames=60) == []
    assert room.see(body("anna", 0.0), body("ben", 1.0, hand_up=True), frames=10) == []
    room.see(body("anna", 0.0), body("ben", 1.0), frames=1)
    assert room.see(body("anna", 0.0), body("ben", 1.0, hand_up=True), frames=40) == ["ben"]
    assert room.see(body("anna", 0.0), body("ben", 1.0), frames=60) == ["ben"]
    assert room.see(body("anna", 0.0, hand_up=True), body("ben", 1.0), frames=40) == ["anna"]


def test_only_the_locked_operator_is_followed() -> None:
    room = Room(choice="raised_hand")
    room.see(body("anna", 1.0, hand_up=True), frames=40)
    room.engage()
    other = body("ben", 0.0, hand_up=True)
    assert room.see(body("anna", 1.0), other, frames=60) == ["anna"]
    assert room.see(other, frames=600) == []
    assert room.see(other, body("anna", 1.2), frames=5) == ["anna"]


def test_an_id_that_is_handed_on_to_somebody_else_leads_nothing_until_engaged_again() -> None:
    room = Room()
    room.see(body("1", 0.0), frames=30)
    room.engage()
    assert room.see(body("1", 0.0), frames=30) == ["1"]
    assert room.see(body("1", 1.2), frames=300) == []
    assert "1.2 m" in room.people.refuses(room.now + FRAME, body("1", 1.2), "1", 1)
    room.engage()
    assert room.see(body("1", 1.2), frames=3) == ["1"]


@pytest.mark.parametrize("unseen_s", [0, 5])
@pytest.mark.parametrize("locked", ["by the button", "by the next body"])
def test_the_first_body_after_engaging_is_where_the_operator_was_seen(
    locked: str, unseen_s: int
) -> None:
    room = Room()
    room.see(body("1", 0.0), frames=30)
    if locked == "by the next body":
        room.engagement += 1
        room.see(body("1", 0.0))
        room.operator = "1"  # type: ignore[assignment]
    else:
        room.engage()
    room.now += unseen_s * NS
    assert room.see(body("1", 1.1)) == []
    assert room.see(body("1", 0.0)) == ["1"]


def test_a_body_that_is_refused_for_another_reason_does_not_move_the_operator() -> None:
    room = Room()
    room.see(body("1", 0.0), frames=30)
    room.engage()
    assert room.see(body("1", 0.0)) == ["1"]
    assert not room.people.refuses(room.now + FRAME, body("1", 0.5), "1", 1)  # its stamps are old
    assert room.see(body("1", 1.0)) == []


def test_an_operator_who_walks_is_followed() -> None:
    room = Room()
    room.see(body("1", 0.0))
    room.engage()
    for k in range(300):
        assert room.see(body("1", 0.03 * k)) == ["1"]


def test_a_body_that_is_not_finite_is_ignored() -> None:
    lost = body("1", np.nan)
    assert Room().see(lost) == []


def test_hundreds_of_ids_are_not_kept_for_ever() -> None:
    room = Room()
    for k in range(300):
        room.see(body(str(k), 0.0))
    assert len(room.people._people) <= 16


def test_a_clock_set_back_forgets_who_was_in_view() -> None:
    room = Room()
    room.see(body("1", 0.0), frames=5)
    room.now -= 3600 * NS
    assert room.see(body("2", 0.0)) == ["2"]


@pytest.mark.parametrize("wrong", [{"choice": "tallest"}, {"place": (np.nan, 0.0)}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PallasError):
        OperatorSettings(**wrong)  # type: ignore[arg-type]
