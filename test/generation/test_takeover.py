"""A live operator takes over from generated motion and hands back without a jump."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpstm_ros.generation.playback import BLEND_M_S, Playback
from hpstm_ros.generation.takeover import JUMP_M, LEADS, TakeOver
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

STEP = round(1e9 / 60)
ARM = [JOINT_INDEX[f"right_{name}"] for name in ("shoulder", "elbow", "wrist")]


def live(stamp: int, height: float = 1.9, away: float = 1.0, angle: float = 1.0) -> BodyFrame:
    """An operator of another size, position and heading, with the right arm at ``angle``."""
    q = np.tile(rotations.about_z(0.7), (22, 1))
    raised = rotations.from_rotvec(np.array([-angle, 0.0, 0.0]))
    q[ARM] = rotations.multiply(q[ARM], np.broadcast_to(raised, (3, 4)))
    root = np.array([away, 0.3, 1.0])
    p = np.asarray(forward_kinematics(Skeleton.from_height(height), q, root), dtype=np.float64)
    contacts = np.ones(2)
    return BodyFrame(
        stamp, q, p, np.tile(np.eye(3) * 1e-4, (22, 1, 1)), np.ones(22, bool), np.ones(22),
        contacts, stamp, "someone",
    )  # fmt: skip


def steps(shown: list[BodyFrame]) -> np.ndarray:
    """Largest joint displacement in m between successive bodies."""
    p = np.stack([body.positions for body in shown])
    return np.linalg.norm(np.diff(p, axis=0), axis=-1).max(-1)


class Run:
    """Both sources at 60 Hz; the operator's bodies arrive slightly later and older."""

    def __init__(self, speed: float, **body: float) -> None:
        self.takeover = TakeOver()
        self.playback = Playback()
        self.shown: list[BodyFrame] = []
        self.frame = 0
        self._speed = speed
        self._body = body

    def go(self, frames: int, *, operator: bool = True) -> None:
        for _ in range(frames):
            self.frame += 1
            now = self.frame * STEP
            self._keep(self.takeover.generated(self.playback.tick(now)))
            if operator:
                angle = np.sin(self._speed * now / 1e9)
                body = live(now - 4_000_000, angle=angle, **self._body)
                self._keep(self.takeover.operator(body))

    def _keep(self, body: BodyFrame | None) -> None:
        if body is not None:
            self.shown.append(body)


@settings(max_examples=12)
@given(
    speed=st.floats(0.0, 3.0),
    height=st.floats(1.3, 2.1),
    away=st.floats(-2.0, 2.0),
    changes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
def test_the_blend_adds_a_bounded_speed_and_nothing_jumps(
    speed: float, height: float, away: float, changes: list[int]
) -> None:
    run = Run(speed, height=height, away=away)
    run.go(5)
    for frames in changes:
        if run.takeover.operator_leads:
            run.takeover.hand_back()
        else:
            run.takeover.take_over(run.frame * STEP)
        run.go(frames)
    stamps = np.array([body.stamp for body in run.shown])
    assert (np.diff(stamps) > 0).all()
    own = 0.7 * height * speed / 60  # of the arm's end, by its angle; a shoulder and an arm at most
    spent = np.diff(stamps) / 1e9
    assert (steps(run.shown) <= BLEND_M_S * spent + 2.5 * own + 1e-6).all()


def test_the_operator_is_shown_as_measured_after_the_blend() -> None:
    run = Run(0.5)
    run.go(5)
    run.takeover.take_over(run.frame * STEP)
    run.go(400)
    shown = run.shown[-1]
    assert not run.takeover.blending
    assert shown.remarks == (LEADS,)
    assert shown.body_id == "operator"
    wanted = live(shown.stamp, angle=np.sin(0.5 * run.frame * STEP / 1e9))
    np.testing.assert_allclose(shown.positions, wanted.positions)
    np.testing.assert_array_equal(shown.newest_input, shown.stamp)
    run.go(30, operator=False)
    assert run.shown[-1] is shown  # silent: nothing is shown, and the arm holds


def test_handed_back_the_body_rests_where_the_operator_stood() -> None:
    run = Run(0.5)
    run.go(5)
    run.takeover.take_over(run.frame * STEP)
    run.go(400)
    assert run.takeover.shown is not None
    run.playback.stand(run.takeover.shown)
    run.go(1)
    run.takeover.hand_back()
    run.go(200)
    assert "at rest" in run.shown[-1].remarks
    np.testing.assert_allclose(run.shown[-1].positions[0, :2], [1.0, 0.3], atol=1e-6)
    assert (steps(run.shown) < 0.05).all()


def test_a_jump_of_the_operator_is_blended_to() -> None:
    run = Run(0.0)
    run.go(5)
    run.takeover.take_over(run.frame * STEP)
    run.go(400)
    run._body = {"away": 1.4}
    run.go(300)
    assert (steps(run.shown) <= BLEND_M_S / 60 + 1e-6).all()
    np.testing.assert_allclose(run.shown[-1].positions[0, 0], 1.4)
    assert JUMP_M < 0.4


def test_a_tracker_that_hands_the_operators_id_on_makes_the_output_stop() -> None:
    run = Run(0.0)
    run.go(5)
    run.takeover.take_over(run.frame * STEP)
    run.go(60)
    shown = len(run.shown)
    run._body = {"away": 2.2}
    run.go(120)
    assert len(run.shown) == shown


def test_nobody_takes_over_while_several_people_are_in_view() -> None:
    takeover = TakeOver()
    for k in range(30):
        stamp = k * STEP
        takeover.operator(live(stamp))
        takeover.operator(replace(live(stamp + 3_000_000, away=-1.0), body_id="passer-by"))
    with pytest.raises(PallasError, match=r"several people are in view \('someone', 'passer-by'\)"):
        takeover.take_over(30 * STEP)
    for k in range(30, 90):
        takeover.operator(live(k * STEP))
    takeover.take_over(90 * STEP)
    for k in range(90, 120):  # the passer-by comes back
        takeover.operator(replace(live(k * STEP, away=-1.0), body_id="passer-by"))
        assert takeover.operator(live(k * STEP + 4_000_000)) is not None
    np.testing.assert_allclose(takeover.shown.positions[0, 0], 1.0)  # type: ignore[union-attr]


def test_who_comes_after_the_first_person_left_may_take_over() -> None:
    takeover = TakeOver()
    takeover.operator(live(0))
    for k in range(40, 60):
        takeover.operator(replace(live(k * STEP), body_id="another"))
    takeover.take_over(60 * STEP)


def test_bodies_that_are_not_finite_are_ignored() -> None:
    takeover = TakeOver()
    with pytest.raises(PallasError, match="operator is arriving"):
        takeover.take_over(0)
    bad = live(10)
    bad.positions[3, 1] = np.nan
    assert takeover.operator(bad) is None
    with pytest.raises(PallasError, match="operator is arriving"):
        takeover.take_over(10)
    takeover.operator(live(10))
    with pytest.raises(PallasError, match="operator is arriving"):
        takeover.take_over(10**9)
    takeover.take_over(20)
    assert takeover.operator(live(30)) is not None
    assert takeover.operator(live(30)) is None  # not newer
    assert takeover.operator(replace(live(40), body_id="another")) is None
