"""Text to pose: representation, sampler, training, and output of any network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from hpstm_ros.generation.corrections import range_violations
from hpstm_ros.generation.intersections import intersections
from hpstm_ros.generation.pose_goal import PoseGenerator
from hpstm_ros.generation.poses import (
    ROWS,
    TOKENS,
    TRAINED_STEPS,
    Poses,
    PoseSampler,
    alphas_cumprod,
    decode_pose,
    encode_pose,
    text_inputs,
)
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request, resting
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.encoder import Tokens
from hpstm_ros.model.text_pose import TextPose, TextPoseConfig
from hpstm_ros.train.text_pose.data import CLUSTERS, collect
from hpstm_ros.train.text_pose.released import export, load_model
from hpstm_ros.train.text_pose.training import Anatomy, TrainingSettings, scale_of, train
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.train.loop import LoopSettings

UPPER = [JOINT_INDEX[name] for name in ("head", "left_wrist", "right_wrist")]
CONFIG = TextPoseConfig(channels=(8, 8, 16), condition=16, text=16, heads=2, tokens=12)


class StandIn:
    """A replacement for the text encoder, without weights."""

    folder = Path("stand-in")

    def tokens(self, texts: list[str]) -> Tokens:
        """Return a vector for each word, computed from its letters."""
        words = [text.split() for text in texts]
        longest = max(len(row) for row in words)
        features = np.zeros((len(texts), longest, 12), np.float32)
        mask = np.zeros((len(texts), longest), np.bool_)
        for i, row in enumerate(words):
            for j, word in enumerate(row):
                features[i, j] = np.random.default_rng(sum(map(ord, word))).standard_normal(12)
                mask[i, j] = True
        return Tokens(features, mask, tuple(tuple(row) for row in words))


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    """Random poses near standing, in four categories."""
    rng = np.random.default_rng(0)
    frames = 600
    q = rotations.from_rotvec(rng.normal(0, 0.25, (4 * frames, 22, 3)))
    contents = ("raise-up-left-hand", "walk", "kick", "run")
    clips = tuple(
        LibraryClip("bandai_namco", f"c{i}", c, "", "train", i * frames, (i + 1) * frames)
        for i, c in enumerate(contents)
    )
    return MotionLibrary(
        clips,
        np.round(np.asarray(q) * 32767).astype(np.int16),
        np.tile(np.float32([0, 0, 0.9]), (4 * frames, 1)),
        np.zeros((4 * frames, 2), np.bool_),
    )


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> PoseSampler:
    """An untrained network with arbitrary output."""
    torch.manual_seed(0)
    scale = (np.zeros((ROWS, 6), np.float32), np.ones((ROWS, 6), np.float32))
    path = export(TextPose(CONFIG), scale, tmp_path_factory.mktemp("pose"), {})
    assert load_model(path.with_suffix(".safetensors"))[0].config == CONFIG
    return PoseSampler(path, StandIn())  # type: ignore[arg-type]


def test_the_schedule_is_that_of_diffusers() -> None:
    expected = DDPMScheduler(TRAINED_STEPS, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    np.testing.assert_allclose(alphas_cumprod(), expected, atol=1e-5)


def test_poses_survive_encoding() -> None:
    rng = np.random.default_rng(1)
    q = np.asarray(rotations.from_rotvec(rng.normal(0, 0.02, (5, 22, 3))))
    turn = rotations.about_z(-np.asarray(rotations.heading(q[:, 0])))
    q = np.asarray(rotations.multiply(np.broadcast_to(turn[:, None], q.shape), q))
    got, root = decode_pose(encode_pose(q, np.full(5, 1.05)))
    assert np.degrees(rotations.angle_between(q, got)).max() < 3  # ranges hold some in the T-pose
    assert root[:, 2] == pytest.approx(np.full(5, 1.05), abs=0.1)


def test_any_output_of_the_network_gives_a_valid_body(sampler: PoseSampler) -> None:
    poses = sampler.sample("kick with the left leg", 9, seed=3, steps=4)
    assert poses.rotations.shape == (9, 22, 4)
    assert not range_violations(poses.rotations)[:, 1:].any()
    p = poses.positions()
    offsets = np.linalg.norm(Skeleton.from_height().offsets, axis=1)
    for joint in range(1, len(JOINTS)):
        bone = np.linalg.norm(p[:, joint] - p[:, PARENTS[joint]], axis=1)
        np.testing.assert_allclose(bone, offsets[joint], atol=1e-6)
    assert p[..., 2].min() > 0
    assert np.abs(rotations.heading(poses.rotations[:, 0])).max() < 1e-6
    assert poses.words == ("kick", "with", "the", "left", "leg")
    assert poses.attention.sum() == pytest.approx(100)
    assert len(poses.motion(0.5)) == 9 * 15


def test_a_pose_is_a_goal_that_is_reached_and_held(sampler: PoseSampler) -> None:
    generator = PoseGenerator(sampler)
    producer = Producer(lambda motion, text: 50.0, {"pose": generator}, lambda motion: None)
    asked = Request("walk", seconds=4.0, seed=2, candidates=2)
    motion = producer.produce(asked, "pose").candidates[0].motion
    poses = sampler.sample("walk", 2, seed=2)
    held = motion.positions[round(3.2 * 60) :]
    assert np.abs(held - held[-1]).max() < 0.02
    away = [np.abs((held[-1] - held[-1, :1]) - (p - p[:1]))[UPPER].max() for p in poses.positions()]
    assert min(away) < 0.05  # the feet are planted on the way, which bends the legs
    first = resting().positions[0]
    assert np.abs((motion.positions[0] - motion.positions[0, :1]) - (first - first[:1])).max() < 0.1
    further = replace(asked, text="", start=motion)
    with pytest.raises(PallasError, match="needs a text"):
        generator.generate(further, lambda stage, part: None)


def test_poses_that_intersect_themselves_are_left_out_where_others_were_drawn(
    sampler: PoseSampler,
) -> None:
    drawn = sampler.sample("walk", 6, seed=4, steps=3)
    hits = intersections(drawn.positions())
    assert (np.diff(hits.astype(int)) >= 0).all()  # those come last
    straight = np.zeros((1, 22, 3))
    straight[:, JOINT_INDEX["neck"]] = [0, 0, 0.5]
    for side, y in (("left", 0.3), ("right", -0.3)):
        straight[:, JOINT_INDEX[f"{side}_elbow"]] = [0, y, 0.3]
        straight[:, JOINT_INDEX[f"{side}_wrist"]] = [0, y, 0.1]
        straight[:, JOINT_INDEX[f"{side}_knee"]] = [0, y / 3, -0.4]
        straight[:, JOINT_INDEX[f"{side}_ankle"]] = [0, y / 3, -0.8]
    assert not intersections(straight).any()
    straight[:, JOINT_INDEX["left_wrist"]] = [0, 0.05, 0.1]
    assert intersections(straight).all()


def test_a_seed_gives_the_same_poses_again(sampler: PoseSampler) -> None:
    first, again = (sampler.sample("walk", 3, seed=5, steps=3) for _ in range(2))
    np.testing.assert_array_equal(first.rotations, again.rotations)
    other = sampler.sample("walk", 3, seed=6, steps=3)
    assert np.abs(first.rotations - other.rotations).max() > 1e-3


@pytest.mark.parametrize("arguments", [("", 6), ("walk", 0), ("walk", 65)])
def test_bad_requests_are_refused(sampler: PoseSampler, arguments: tuple[str, int]) -> None:
    with pytest.raises(PallasError):
        sampler.sample(*arguments)


def test_long_texts_are_read_to_their_twentieth_token() -> None:
    (one,) = text_inputs(StandIn(), ["walk " * 30])  # type: ignore[arg-type]
    assert one.mask.sum() == TOKENS
    assert len(one.words) == TOKENS


def test_clusters_are_balanced_and_mirrored_poses_have_mirrored_texts(
    library: MotionLibrary,
) -> None:
    poses = collect(library, library.clips, Descriptions(), 40)
    half = len(poses.rows) // 2
    assert len(poses.of) == len(poses.rows) == 2 * half
    counts = np.bincount(poses.cluster, minlength=CLUSTERS)
    assert counts.sum() == 2 * half
    flip = np.array([1.0, -1.0, 1.0])
    np.testing.assert_allclose(
        poses.positions[half:], poses.positions[:half][:, list(MIRROR)] * flip, atol=1e-6
    )
    of = {
        (poses.texts[a], poses.texts[b])
        for x, y in zip(poses.of[:half], poses.of[half:])
        for a, b in zip(x, y)
    }
    assert ("raise the left hand", "raise the right hand") in of
    assert not any("then" in text for text in poses.texts)


def test_training_resumes_and_the_anatomy_is_that_of_the_body(
    library: MotionLibrary, tmp_path: Path
) -> None:
    poses = collect(library, library.clips, Descriptions(), 40)
    scale = scale_of(poses.rows)
    anatomy = Anatomy(scale)
    rows = torch.from_numpy(((poses.rows - scale[0]) / scale[1]).astype(np.float32))
    np.testing.assert_allclose(anatomy.positions(rows), poses.positions, atol=1e-4)
    assert float(anatomy.skewness(rows).max()) < 1e-6
    settings = TrainingSettings(
        batch=4, model=CONFIG, loop=LoopSettings(steps=2, warm_up=1, validate_every=1)
    )
    inputs = text_inputs(StandIn(), poses.texts)  # type: ignore[arg-type]
    train(poses, inputs, settings, tmp_path)
    longer = replace(settings, loop=replace(settings.loop, steps=3))
    model, _ = train(poses, inputs, longer, tmp_path)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    "tokens",
    [
        ("[CLS]", "crouch", "##ing", "low", "[SEP]"),
        ("<|startoftext|>", "crouch", "ing</w>", "low</w>", "<|endoftext|>"),
    ],
)
def test_attention_is_stated_for_whole_words(tokens):
    poses = Poses(np.zeros((0, 22, 4)), np.zeros((0, 3)), tokens, np.array([20.0, 30, 10, 20, 20]))
    words = poses.by_word()
    assert [word for word, _ in words] == ["crouching", "low"]
    assert [share for _, share in words] == pytest.approx([200 / 3, 100 / 3])


def test_a_word_that_the_encoder_does_not_know_receives_attention_too() -> None:
    """Regression: a chart of a text of unknown words had no bars, which was a traceback."""
    tokens = ("[CLS]", "[UNK]", "[SEP]")
    poses = Poses(np.zeros((0, 22, 4)), np.zeros((0, 3)), tokens, np.array([20.0, 60, 20]))
    assert poses.by_word() == [("[UNK]", 100.0)]
