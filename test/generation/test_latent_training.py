"""Training data of the length-aware generator, and its two training stages."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hpstm_ros.generation import heading_frames
from hpstm_ros.generation.text import TEXT
from hpstm_ros.model.latent import LatentConfig, LatentModel
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.latent_data import SHORTEST, FlowBatches, Latents, cut, spans
from hpstm_ros.train.latent_training import flow_loss, path, scaling, vae_loss
from pallas_ros.imu.motions import demo_motion

CONFIG = LatentConfig(
    subspaces=6,
    size=4,
    stem=16,
    width=16,
    heads=2,
    hidden=16,
    layers=1,
    flow_width=16,
    flow_heads=2,
    flow_hidden=16,
    flow_layers=1,
)


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Three clips: too short, complete, and longer than the maximum."""
    motion = demo_motion(duration=12.0)
    frames = heading_frames.encode(
        motion.rotations[::2], motion.positions[::2, 0], np.ones((len(motion.rotations[::2]), 2))
    )
    parts = [frames[:20], frames[:80], frames]
    length = np.array([len(part) for part in parts])
    both = np.concatenate(parts)
    return Clips(
        ("a", "b", "c"),
        np.stack((both, heading_frames.mirrored(both))),
        np.cumsum(length) - length,
        length,
    )


def test_spans_are_whole_clips_and_parts_of_long_ones(clips: Clips) -> None:
    packs = {"a": "x", "b": "bandai_namco", "c": "x"}
    found = spans(clips, packs, CONFIG.longest, 0.5, 1)
    assert (np.diff(found.frames) >= 0).all()
    assert found.frames.min() >= SHORTEST
    assert found.frames.max() <= CONFIG.longest
    assert found.clip[found.whole].tolist() == [1]
    assert set(found.clip[~found.whole]) == {2}
    assert (found.start + found.frames <= clips.length[found.clip]).all()
    share = found.weight[found.clip == 1].sum() / found.weight.sum()
    assert share <= 0.5 + 1e-9
    again = spans(clips, packs, CONFIG.longest, 0.5, 1)
    assert np.array_equal(found.start, again.start)


def test_cut_is_padded_to_whole_patches(clips: Clips) -> None:
    found = spans(clips, dict.fromkeys("abc", "x"), CONFIG.longest, 0.5, 1)
    rows = np.arange(len(found))
    frames, length = cut(clips, found, rows, np.zeros_like(rows), CONFIG.patch)
    assert frames.shape[1] % CONFIG.patch == 0
    assert length[:, 0].tolist() == found.frames.tolist()
    assert not frames[:, 0, :3].any()
    row = int(np.flatnonzero(found.whole)[0])
    whole = clips.clip(1)
    np.testing.assert_array_equal(frames[row, 1:80].numpy(), whole[1:80])


def test_path_is_that_of_the_world(clips: Clips) -> None:
    frames = np.array(clips.clip(2)[:60])
    frames[:, 2] = 0.02
    found = path(torch.from_numpy(frames)[None])[0].numpy()
    world = heading_frames.to_world(frames)[:, :2]
    turned = found - found[:1]
    assert np.linalg.norm(turned[-1]) == pytest.approx(np.linalg.norm(world[-1]), abs=1e-3)


def test_both_trainings_learn(clips: Clips) -> None:
    torch.manual_seed(0)
    model = LatentModel(CONFIG)
    found = spans(clips, dict.fromkeys("abc", "x"), CONFIG.longest, 0.5, 1)
    rows = np.arange(len(found))
    batch = cut(clips, found, rows, rows % 2, CONFIG.patch)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)

    def train(
        loss_of: Callable[[], tuple[torch.Tensor, dict[str, float]]], steps: int
    ) -> tuple[float, float]:
        losses = []
        for _ in range(steps):
            loss, _ = loss_of()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses[0], losses[-1]

    first, last = train(lambda: vae_loss(model.vae, batch), 15)
    assert last < 0.7 * first
    with torch.no_grad():
        mean, spread = model.vae.encode(*batch)
        unlocked = model.vae.layout.unlocked(batch[1])[..., None]
    both = np.stack([mean.numpy()] * 2)
    deviation = np.stack([((0.5 * spread).exp() * unlocked).numpy()] * 2)
    nothing = tuple(np.empty(0, np.int64) for _ in clips.names)
    data = Latents(found, both, deviation, (nothing, nothing), np.zeros((0, TEXT), np.float32))
    batches = FlowBatches(data, scaling(data), 4, torch.Generator(), CONFIG)
    drawn = batches.draw(np.random.default_rng(0))
    assert not drawn.noised[drawn.length[:, 0] < 2 * CONFIG.frames, 1:].any()
    first, last = train(lambda: flow_loss(model.flow, drawn), 40)
    assert last < 0.95 * first
