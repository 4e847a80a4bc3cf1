"""The flow: seeds are reproducible, given pasts are continued, windows join, invalid requests are
rejected.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.flow import (
    Flow,
    FlowGenerator,
    Known,
    ancestral,
    hand_inputs,
    original,
    states,
)
from hpstm_ros.generation.prediction import FRESH_NS, Predictor
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import (
    HandTarget,
    Request,
    check,
    default_model,
    parse_hand,
    resting,
)
from hpstm_ros.generation.stream import bodies_of
from hpstm_ros.model.hpstm_gen import HpstmGen
from hpstm_ros.train.contexts import ContextShares, draw_context, seen_pattern
from hpstm_ros.train.generator import GenBatch, GenWeights, gen_loss
from hpstm_ros.train.released import start_from
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.skeleton import Skeleton


def quiet(stage: str, part: float) -> None:
    """Ignore progress."""


def resting_features(frames: int = rep.FRAMES) -> np.ndarray:
    features, _ = rep.from_motion(resample(resting(5.0), 30.0))
    return features[:frames]


def test_the_state_is_the_same_in_torch_and_numpy(tiny_model):
    features = resting_features()
    ours = (states(features) - tiny_model.mean.numpy()) / tiny_model.scale.numpy()
    theirs = tiny_model.standardise(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_every_end_of_the_flow_is_a_body(tiny_flow):
    known = Known.nothing(2)
    drawn = tiny_flow.sample(known, [np.random.default_rng(n) for n in range(2)], 4)
    lengths = np.linalg.norm(np.diff(rep.positions(drawn)[..., [18, 20], :], axis=-2), axis=-1)
    np.testing.assert_allclose(lengths, lengths[0, 0, 0], atol=1e-6)


def test_a_seed_gives_the_same_motion_among_any_number_of_candidates(tiny_flow):
    generator = FlowGenerator(tiny_flow)
    start = resting()
    one = generator.generate(Request(seed=5, steps=4, start=start), quiet)
    again = generator.generate(Request(seed=5, steps=4, start=start), quiet)
    three = generator.generate(Request(seed=5, steps=4, start=start, candidates=3), quiet)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_allclose(one[0], three[0], atol=1e-5)
    assert np.abs(three[1] - three[0]).max() > 1e-3


@pytest.mark.parametrize("start", [None, resting(1.0)])
@pytest.mark.parametrize("seconds", [0.5, 9.0])
def test_motion_lasts_as_long_as_asked(tiny_flow, seconds, start):
    request = Request(seconds=seconds, steps=4, start=start)
    drawn = FlowGenerator(tiny_flow).generate(request, quiet)
    assert drawn.shape == (1, request.frames, rep.FEATURES)
    assert np.isfinite(drawn).all()


def test_a_produced_motion_begins_where_the_start_ends(tiny_flow):
    start = resting(1.0)
    start.positions += [2.0, 1.0, 0.0]
    producer = Producer(
        score=lambda motion, text: 50.0,
        generators={"flow": FlowGenerator(tiny_flow)},
        refuses=lambda motion: None,
    )
    outcome = producer.produce(Request(seconds=1.0, steps=4, start=start))
    first = outcome.candidates[0].motion.positions[0, 0]
    assert np.linalg.norm(first[:2] - [2.0, 1.0]) < 1.0


@pytest.mark.parametrize("height", [1.55, 1.95])
def test_a_start_of_any_size_is_continued_at_its_place(tiny_flow, height):
    rest = resting(1.0)
    skeleton = Skeleton.from_height(height)
    turn = rotations.about_z(np.full((len(rest), 1), 1.0))
    q = rotations.multiply(np.broadcast_to(turn, rest.rotations.shape), rest.rotations)
    root = np.tile([40.0, 20.0, skeleton.rest_positions[0, 2]], (len(rest), 1))
    start = Motion(rep.FPS, np.asarray(forward_kinematics(skeleton, q, root)), q)
    producer = Producer(
        score=lambda motion, text: 50.0,
        generators={"flow": FlowGenerator(tiny_flow)},
        refuses=lambda motion: None,
    )
    outcome = producer.produce(Request(seconds=1.0, steps=4, start=start))
    first = outcome.candidates[0].motion.positions[0, 0]
    assert np.linalg.norm(first[:2] - [40.0, 20.0]) < 1.0


def test_predictions_follow_the_body(tiny_expectation):
    predictor = Predictor(tiny_expectation)
    assert predictor.predict(0) == []
    for body in bodies_of(resample(resting(1.5), 60.0)):
        predictor.push(body, body.stamp)
    ahead = predictor.predict(body.stamp)
    assert len(ahead) == 10
    assert ahead[-1].stamp - predictor.newest == pytest.approx(1e9, abs=5e7)
    assert np.isfinite(ahead[-1].covariance).all()
    assert (np.linalg.eigvalsh(ahead[-1].covariance) > 0).all()


def test_the_predicted_covariance_grows_with_the_body(tiny_expectation):
    """Regression: it was that of the default body."""
    found = []
    for scale in (1.0, 1.2):
        predictor = Predictor(tiny_expectation)
        for body in bodies_of(resample(resting(1.5), 60.0)):
            predictor.push(replace(body, positions=scale * body.positions), body.stamp)
        found.append(predictor.predict(body.stamp)[-1].covariance)
    np.testing.assert_allclose(found[1], 1.44 * found[0], rtol=1e-3)


def test_a_body_with_contacts_that_are_not_finite_is_not_stored(tiny_expectation):
    """Regression: predictions that were not finite were published."""
    predictor = Predictor(tiny_expectation)
    for body in bodies_of(resample(resting(1.5), 60.0)):
        predictor.push(replace(body, contacts=np.array([np.nan, 0.0])), body.stamp)
    assert predictor.predict(body.stamp) == []


@pytest.mark.parametrize(("time", "frame"), [(0.0, 10), (1.0, 40), (3.0, 99)])
def test_the_flow_sees_a_hand_target_at_the_end(time, frame):
    """Regression: one at the end belonged to a frame after the motion."""
    target = HandTarget("right", (0.4, -0.2, 1.3), time)
    seen = hand_inputs([target], rep.Place(), 10, 90)[:, 7]
    np.testing.assert_array_equal(np.flatnonzero(seen), [frame])


@pytest.mark.parametrize("candidates", [0, 9, -(10**400), 10**400])
def test_any_number_of_candidates_is_refused_in_words(candidates):
    """Regression: huge ones raised OverflowError."""
    with pytest.raises(PallasError, match="number of candidates is"):
        check(Request("wave", candidates=candidates))


def test_a_body_that_left_is_neither_continued_nor_predicted(tiny_expectation):
    predictor = Predictor(tiny_expectation)
    for body in bodies_of(resample(resting(1.5), 60.0)):
        predictor.push(body, body.stamp)
    soon = body.stamp + FRESH_NS
    assert predictor.past_at(soon) is not None
    assert len(predictor.predict(soon)) == 10
    assert predictor.past_at(soon + 1) is None
    assert predictor.predict(soon + 1) == []


@pytest.mark.parametrize("late", [-(2 * 10**6), 0, 2 * 10**6])
def test_a_second_person_is_not_mixed_with_the_operator(late):
    predictor = Predictor()
    for body in bodies_of(resample(resting(1.5), 60.0), "operator"):
        other = replace(
            body, body_id="other", stamp=body.stamp + late, positions=body.positions + 3.0
        )
        predictor.push(body, body.stamp)
        predictor.push(other, body.stamp)
    past = predictor.past_at(body.stamp)
    assert past is not None
    np.testing.assert_allclose(past.positions[:, 0, 0], 0.0, atol=1e-6)
    for step in range(120):  # the operator has left
        later = body.stamp + step * 16_666_667
        predictor.push(replace(other, stamp=later), later)
    past = predictor.past_at(later)
    assert past is not None
    np.testing.assert_allclose(past.positions[:, 0, 0], 3.0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": ""}, "empty"),
        ({"text": "walk " * 2000}, "characters"),
        ({"text": "человек идёт вперёд"}, "not English"),
        ({"text": "mit der rechten Hand winken"}, "not English"),
        ({"seconds": 0.0}, "duration"),
        ({"seconds": -1.0}, "duration"),
        ({"seconds": float("nan")}, "duration"),
        ({"seconds": 3600.0}, "duration"),
        ({"hands": (HandTarget("right", (5.0, 0, 1), 1.0),)}, "out of reach"),
        ({"hands": (HandTarget("right", (0.3, 0, 1), 9.0),)}, "outside the motion"),
        ({"hands": (HandTarget("right", (0.3, 0, float("inf")), 1.0),)}, "not finite"),
        ({"hands": 17 * (HandTarget("right", (0.3, 0, 1), 1.0),)}, "at most 16"),
        (
            {"hands": tuple(HandTarget("right", (0.3, y, 1), 1.0) for y in (0.0, 0.1))},
            "two targets at 1 s",
        ),
        ({"candidates": 99}, "candidates"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_requests_get_one_sentence(change, said):
    with pytest.raises(PallasError, match=said) as caught:
        check(Request(**{"text": "walk", **change}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_start_that_is_not_finite_is_refused():
    start = resting()
    start.positions[0] = np.nan
    with pytest.raises(PallasError, match="not finite"):
        check(Request("walk", start=start))


def test_a_hand_target_has_a_form():
    assert parse_hand(["right", "0.4,-0.2,1.3@2"]).point == (0.4, -0.2, 1.3)
    with pytest.raises(PallasError, match="expected x,y,z@seconds"):
        parse_hand(["right", "0.4,-0.2@2"])


def test_training_learns(tiny_model):
    import copy

    model = copy.deepcopy(tiny_model).train()
    rng = np.random.default_rng(0)
    state = model.standardise(torch.from_numpy(resting_features())[None].repeat(4, 1, 1)).detach()
    valid = np.ones((4, rep.FRAMES), dtype=bool)
    text = np.zeros((4, model.config.text), np.float32)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(8):
        context = draw_context(rng, model, state, valid, text, ContextShares())
        tau = torch.full((4, 1), 0.3)
        noised = model.noised(state, torch.randn_like(state), tau[..., None], context)
        batch = GenBatch(state, noised, tau, context, torch.ones(4, rep.FRAMES))
        loss, _ = gen_loss(model, batch, GenWeights())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_network_of_another_shape_cannot_be_trained_further(tiny_model):
    same = type(tiny_model)(tiny_model.config)
    start_from(same, tiny_model, "weights.safetensors")
    assert all(
        torch.equal(a, b)
        for a, b in zip(same.state_dict().values(), tiny_model.state_dict().values(), strict=True)
    )
    other = type(tiny_model)(replace(tiny_model.config, hidden=2 * tiny_model.config.hidden))
    with pytest.raises(PallasError, match=r"weights\.safetensors: .*not of the shape"):
        start_from(other, tiny_model, "weights.safetensors")


def test_patterns_of_observed_joints_are_of_all_kinds():
    rng = np.random.default_rng(0)
    shares = [seen_pattern(rng, ContextShares()).mean() for _ in range(60)]
    assert min(shares) == 0
    assert max(shares) > 0.7


def test_the_sampler_of_ddpm_recovers_data_from_a_perfect_network():
    """With the exact expectation of Gaussian data as network, the samples have the mean and spread
    of the data.
    """
    rng = np.random.default_rng(0)
    generators = [np.random.default_rng([1, k]) for k in range(400)]
    x = rng.standard_normal((400, 5)).astype(np.float32)
    steps = 40
    for step in range(steps):
        tau = step / steps
        following = (step + 1) / steps
        a = np.sin(0.5 * np.pi * tau)
        b = np.cos(0.5 * np.pi * tau)
        variance = 0.25  # of the data, whose mean is 2
        share = a * variance / (a * a * variance + b * b)
        x = ancestral(x, (2 + share * (x - 2 * a)).astype(np.float32), tau, following, generators)
    assert x.mean() == pytest.approx(2.0, abs=0.05)
    assert x.std() == pytest.approx(0.5, abs=0.06)


def test_ablations_of_the_network_run(tiny_model, tiny_flow):
    for change in ({"ddpm": True}, {"manifold": False}):
        model = HpstmGen(replace(tiny_model.config, **change)).eval()
        model.scale.fill_(0.1)
        flow = type(tiny_flow)(model)
        drawn = flow.states(Known.nothing(1), [np.random.default_rng(0)], 4)
        assert np.isfinite(drawn).all()
        assert flow.positions(drawn).shape == (1, rep.FRAMES, 22, 3)


def test_the_default_generators_are_those_without_violence() -> None:
    assert default_model(Request("wave")) == "latent"
    assert default_model(Request("wave", seconds=0.8)) == "flow"
    assert default_model(Request("wave", seconds=12.0)) == "flow"
    hand = HandTarget("right", (0.4, -0.2, 1.3), 2.0)
    assert default_model(Request("reach", hands=(hand,))) == "flow"
    assert Flow()._stream.first.metadata["refused"] == "violence"
    assert "refused" not in original().flow._stream.first.metadata
    assert default_model(Request("wave", start=resting())) == "latent"
