"""Streaming forces: equal to the offline forces with a delay of some frames, and never an
exception.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import standing_bodies as bodies

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.dynamics import network
from hpstm_ros.dynamics.anthropometry import GRAVITY
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.live import LiveDynamics, LiveForces, LiveSettings
from hpstm_ros.dynamics.network import MODEL, _reaction, analyse_network
from hpstm_ros.dynamics.offline import analyse
from hpstm_ros.dynamics.strength import WATCHED_JOINTS
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.resources import resource
from pallas_ros.runtime import open_stream

NS = 1e9 / 60


def frames(motion: Motion, deviation: float | None = 0.01, ns: float = NS) -> list[BodyFrame]:
    covariance = None if deviation is None else np.tile(np.eye(3) * deviation**2, (22, 1, 1))
    return [
        BodyFrame(
            stamp=round(1e9 + k * ns),
            rotations=q,
            positions=p,
            covariance=covariance,
            valid=np.ones(22, bool),
            confidence=np.ones(22),
            contacts=np.zeros(2),
            newest_input=round(1e9 + k * ns),
        )
        for k, (p, q) in enumerate(zip(motion.positions, motion.rotations))
    ]


def run(live: LiveDynamics, stream: list[BodyFrame]) -> list[LiveForces]:
    return [found for found in map(live.push, stream) if found is not None]


def bending() -> Motion:
    """Two bows in two seconds."""
    t = np.arange(120) / bodies.FPS
    q = np.stack([bodies.bowed(a) for a in 0.5 - 0.5 * np.cos(np.pi * t)])
    pelvis = np.tile(bodies.SKELETON.rest_positions[0], (120, 1))
    return bodies.moving(q, pelvis)


def test_live_forces_are_the_offline_ones_five_frames_later() -> None:
    motion = bending()
    stream = frames(motion)
    human = Human.of_skeleton(bodies.SKELETON, 75.0)
    offline = analyse(motion, human, cutoff=12.0)
    live = LiveDynamics(LiveSettings(height=1.75))
    outcomes = [live.push(body) for body in stream]
    newest = outcomes[90]
    assert newest is not None
    assert newest.frame is not None
    assert newest.stamp == stream[85].stamp
    assert newest.frame.moment == pytest.approx(offline.moment[85], abs=6.0)
    assert newest.efforts.shape == (63,)
    lumbar = newest.loads[0]
    assert lumbar.moment == pytest.approx(np.linalg.norm(offline.moment[85, 3]), rel=0.05)


def test_lifting_10_kg_changes_the_lumbar_moment_as_statics_predicts() -> None:
    """The trunk is bent by 70 degrees; the load is added while the stream runs."""
    q = bodies.bowed(1.2)
    motion = bodies.still(q, 2.0)
    stream = frames(motion)
    live = LiveDynamics(LiveSettings(height=1.75))
    bare = run(live, stream[:60])[-1]
    live.carry(5.0, 5.0)
    held = run(live, stream[60:])[-1]
    assert bare.frame is not None
    assert held.frame is not None
    arm = motion.positions[0, 20, 0] - motion.positions[0, 3, 0]  # wrists before the spine, m
    hand = 0.6 * 0.108 * 1.75  # m from the wrist to what is held, along the arm
    R = np.asarray(bodies.rotations.to_matrix(q[20]))
    expected = 10.0 * GRAVITY * (arm + hand * R[0, 1])
    change = np.abs(held.frame.moment[3, 1] - bare.frame.moment[3, 1])
    assert change == pytest.approx(abs(expected), rel=0.02)
    assert held.loads[0].moment > bare.loads[0].moment + 25
    assert held.carried == (5.0, 5.0)


def test_uncertainty_grows_with_that_of_the_body() -> None:
    motion = bending()
    found = [
        run(LiveDynamics(), frames(motion, deviation))[-1].deviations for deviation in (0.01, 0.03)
    ]
    assert found[1] == pytest.approx(3 * found[0], rel=1e-6)
    assert (found[0] > 0).all()
    assert np.isnan(run(LiveDynamics(), frames(motion, None))[-1].deviations).all()


def test_linear_uncertainty_matches_disturbed_bodies() -> None:
    """By sampling: the joints of trunk and arms are moved by 1 cm, and the lumbar moment is
    recomputed.
    """
    live = LiveDynamics()
    newest = run(live, frames(bodies.still(bodies.arms_down(spine1=(0.0, 1.0, 0.0)))))[-1]
    assert newest.frame is not None
    human = live._body.human  # type: ignore[union-attr]
    chance = np.random.default_rng(0)
    parts = [part for part in human.segments if part.joint in (3, 9, 15, 16, 17, 18, 19, 20, 21)]
    joints = sorted({part.joint for part in parts} | {WATCHED_JOINTS[0]})
    moments = []
    for _ in range(1000):
        error = dict(zip(joints, chance.normal(0.0, 0.01, (len(joints), 3))))
        weight = np.array([0.0, 0.0, -GRAVITY])
        moments.append(
            sum(
                np.cross(error[part.joint] - error[WATCHED_JOINTS[0]], part.mass * weight)
                for part in parts
            )
        )
    direction = newest.frame.moment[3] / np.linalg.norm(newest.frame.moment[3])
    sampled = float(np.std(np.array(moments) @ direction))
    assert newest.deviations[0] == pytest.approx(sampled, rel=0.1)


def test_a_broken_body_is_unknown_and_the_stream_recovers() -> None:
    stream = frames(bodies.still(bodies.arms_down(), 2.0))
    broken = replace(stream[60], positions=np.full((22, 3), np.nan))
    live = LiveDynamics()
    run(live, stream[:60])
    found = live.push(broken)
    assert found is not None
    assert found.frame is None
    assert "incomplete" in found.remark
    assert not found.standing
    after = run(live, stream[61:])
    assert after[-1].standing
    assert np.isfinite(after[-1].efforts).all()


def lost(body: BodyFrame, *joints: str) -> BodyFrame:
    """The body with joints that must not be used."""
    valid = body.valid.copy()
    valid[[JOINT_INDEX[joint] for joint in joints]] = False
    return replace(body, valid=valid)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: lost(body, "left_ankle", "left_foot"), "no left_ankle, left_foot$"),
        (lambda body: lost(body, *JOINTS), "no pelvis, left_hip, right_hip, spine1 and 18 others"),
        (lambda body: replace(body, positions=body.positions * 1e6), "from the origin"),
        (lambda body: replace(body, positions=body.positions * 1e200), "from the origin"),
        (lambda body: replace(body, positions=body.positions * 1e3), "from the pelvis"),
        (lambda body: replace(body, positions=body.positions * 0.05), "from the pelvis"),
    ],
)
def test_a_body_that_must_not_be_used_is_unknown(
    change: Callable[[BodyFrame], BodyFrame], said: str
) -> None:
    """Regression: forces were computed for feet that are not valid, and for a giant."""
    stream = frames(bodies.still(bodies.arms_down(), 1.5))
    live = LiveDynamics()
    assert run(live, stream[:60])[-1].standing
    found = live.push(change(stream[60]))
    assert found is not None
    assert found.frame is None
    assert re.search(said, found.remark)
    assert run(live, stream[61:])[-1].standing


def test_the_network_states_no_ground_force_in_flight() -> None:
    """Regression: with 5 to 12 % of body weight, a frame was in flight and had a ground force."""
    human = Human.of_skeleton(bodies.SKELETON, 75.0)
    values = np.zeros((3, 2, 5))
    values[:, 0, 2] = (0.08, 0.11, 0.2)
    values[:, 1, 2] = (0.02, 0.04, 0.0)
    joints = np.tile(bodies.SKELETON.rest_positions, (3, 1, 1))
    found = _reaction(values, joints, np.tile(np.eye(3), (3, 1, 1)), human, 0.0)
    assert not found[:2, :, :3].any()
    assert np.isnan(found[:2, :, 3:]).all()
    assert found[2, 0, 2] == pytest.approx(0.2 * human.weight)


@pytest.mark.parametrize("contacts", [(np.nan, 1.0), (np.inf, np.nan), (np.inf, 1.0)])
def test_contacts_that_are_not_finite_are_unknown(contacts: tuple[float, float]) -> None:
    """Regression: the solver failed with an IndexError for every body."""
    stream = frames(bodies.still(bodies.arms_down(), 1.0))
    given = [replace(body, contacts=np.array(contacts)) for body in stream]
    found = run(LiveDynamics(), given)[-1]
    assert found.frame is not None
    plain = run(LiveDynamics(), stream)[-1]
    assert plain.frame is not None
    assert found.frame.moment == pytest.approx(plain.frame.moment)


def test_no_forces_are_computed_across_a_jump() -> None:
    """Regression: a pelvis that jumps gave moments of 5e7 Nm."""
    stream = frames(bodies.still(bodies.arms_down(), 1.5))
    live = LiveDynamics()
    run(live, stream[:60])
    away = np.array([50.0, 0.0, 0.0])
    jumping = [replace(b, positions=b.positions + away * (-1) ** k) for k, b in enumerate(stream)]
    assert not run(live, jumping[60:75])
    assert run(live, stream[75:])[-1].standing


def test_a_gap_and_a_second_person_do_not_mix() -> None:
    stream = frames(bodies.still(bodies.arms_down(), 2.0))
    live = LiveDynamics()
    run(live, stream[:60])
    assert live.push(replace(stream[60], body_id="other")) is None
    assert live.push(stream[75]) is None  # a gap begins a new window
    assert len(run(live, stream[76:90])) == 5


@pytest.mark.parametrize("later_ns", [-2_000_000, 0, 2_000_000])
def test_the_followed_person_is_kept_with_another_in_view(later_ns: int) -> None:
    """Regression: a body of another person that was older than the newest one was followed."""
    stream = frames(bodies.still(bodies.arms_down(), 1.0))
    live = LiveDynamics()
    both = [
        each
        for body in stream
        for each in (body, replace(body, body_id="other", stamp=body.stamp + later_ns))
    ]
    found = run(live, both)
    assert {forces.body_id for forces in found} == {stream[0].body_id}
    assert len(found) == len(run(LiveDynamics(), stream))


def test_an_incomplete_body_does_not_hand_over_to_another_person() -> None:
    """Regression: the next body of anybody was measured with the bones of the first person."""
    stream = frames(bodies.still(bodies.arms_down(), 3.5))
    other = [replace(body, body_id="other") for body in stream]
    live = LiveDynamics()
    run(live, stream[:60])
    live.push(lost(stream[60], "left_foot"))
    assert not run(live, other[61:80])
    hidden = [each for k in range(80, 200) for each in (lost(stream[k], *JOINTS), other[k])]
    found = run(live, hidden)
    assert found[-1].body_id == "other"  # the followed person was lost for a second
    assert found[-1].standing


@pytest.mark.parametrize(
    "settings",
    [{"mass": 0.0}, {"carried": (-1.0, 0.0)}, {"contacts": ("wall",)}, {"sex": "unknown"}],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(PallasError):
        LiveSettings(**settings)  # type: ignore[arg-type]


def test_streaming_equals_offline() -> None:
    motion = bending()
    stream = frames(motion)
    human = Human.of_skeleton(bodies.SKELETON, 75.0)
    model = resource(MODEL)
    offline = analyse_network(motion, human, model, cutoff=12.0)
    live = LiveDynamics(LiveSettings(height=1.75, method="hdys", model=model))
    outcomes = [live.push(body) for body in stream]
    newest = outcomes[90]
    assert newest is not None
    assert newest.frame is not None
    assert newest.stamp == stream[85].stamp
    assert newest.frame.moment[1:] == pytest.approx(offline.moment[85, 1:], abs=8.0)
    assert newest.frame.ground_reaction[:, 2].sum() == pytest.approx(
        offline.ground_reaction[85, :, 2].sum(), rel=0.05
    )


def test_the_method_changes_while_the_stream_runs() -> None:
    stream = frames(bodies.still(bodies.arms_down(), 2.5))
    live = LiveDynamics(LiveSettings(height=1.75, model=resource(MODEL)))
    exact = run(live, stream[:60])[-1]
    live.use("hdys")
    learned = run(live, stream[60:])[-1]
    assert exact.frame is not None
    assert learned.frame is not None
    weight = 75.0 * GRAVITY
    assert exact.residual < 0.01
    assert learned.residual != exact.residual
    assert learned.frame.ground_reaction[:, 2].sum() == pytest.approx(weight, rel=0.1)
    with pytest.raises(PallasError, match="carried loads"):
        live.carry(5.0, 0.0)
    live.use("rigid_body")
    live.carry(5.0, 0.0)
    with pytest.raises(PallasError, match="carried loads"):
        live.use("hdys")
    assert live.settings.method == "rigid_body"
    live.use("hdys", (0.0, 0.0))
    live.use("rigid_body", (0.0, 6.0))
    assert live.carried == (0.0, 6.0)
    with pytest.raises(PallasError, match="carried loads"):
        live.use("hdys", (1.0, 0.0))
    assert live.carried == (0.0, 6.0)


def test_another_person_does_not_have_the_scores_of_the_one_before() -> None:
    """Regression: the scores of up to six frames were those of the first person."""
    live = LiveDynamics(LiveSettings(height=1.75))
    bowed = run(live, frames(bodies.still(bodies.bowed(1.3), 0.9)))
    later = frames(bodies.still(bodies.arms_down(), 0.9))
    other = [replace(f, stamp=f.stamp + 4_000_000_000, body_id="other") for f in later]
    upright = run(live, other)
    assert bowed[-1].scores is not None
    assert {found.scores for found in upright} == {upright[-1].scores}
    assert upright[0].scores != bowed[-1].scores


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "guess"}, "rigid_body or hdys"),
        ({"method": "hdys", "contacts": ("seat",)}, "contacts other than the feet"),
        ({"method": "hdys", "model": "nowhere.onnx"}, "nowhere.onnx"),
    ],
)
def test_a_method_that_cannot_be_used_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(PallasError, match=words):
        LiveDynamics(LiveSettings(**given))


@pytest.mark.parametrize("rate", [15.0, 30.0, 53.0, 67.0, 120.0])
def test_the_forces_of_another_rate_are_unknown(rate: float) -> None:
    """Regression: accelerations of a 30 Hz camera were four times too large, without a remark."""
    found = run(LiveDynamics(), frames(bending(), ns=1e9 / rate))
    assert len(found) > 60
    assert not any(forces.standing for forces in found)
    assert f"at {rate:g} Hz" in found[-1].remark


def test_one_lost_body_is_tolerated() -> None:
    stream = frames(bodies.still(bodies.arms_down(), 2.0))
    assert all(forces.standing for forces in run(LiveDynamics(), stream[:60] + stream[61:]))


@pytest.mark.parametrize("window", [0, -3, 10**12, 2.5, True, None, "8"])
def test_a_model_with_an_impossible_window_is_refused(
    window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: with a window of 10^12 frames, no forces were ever published."""
    opened = open_stream(resource(MODEL))
    opened.metadata["config"]["window"] = window
    monkeypatch.setattr(network, "open_stream", lambda *args, **options: opened)
    with pytest.raises(PallasError, match="window of 1 to 1000 frames"):
        network.Network(MODEL)
