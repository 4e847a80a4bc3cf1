"""The linear part of the length-aware VAE."""

import pytest
import torch

from hpstm_ros.model.latent import LatentConfig, LatentModel, Layout
from hpstm_ros.model.latent_linear import LinearPart

FRAMES = 5
CONFIG = LatentConfig(subspaces=6, size=4, frames=FRAMES, patch=5)


def _waves(count: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """Slow waves (count, frames, 2), described by few values per block."""
    phase = 6.28 * torch.rand(count, 1, generator=generator)
    speed = 0.05 + 0.1 * torch.rand(count, 1, generator=generator)
    angle = phase + speed * torch.arange(frames)
    return torch.stack((angle.sin(), 2 + angle.cos()), -1)


def _fitted() -> tuple[LinearPart, Layout]:
    generator = torch.Generator().manual_seed(0)
    layout = Layout(CONFIG)
    batches = []
    for frames in (10, 17, 30):
        length = torch.full((40, 1), float(frames))
        batches.append((_waves(40, frames, generator), length, layout.unlocked(length)))
    part = LinearPart(CONFIG.size, FRAMES, 2)
    part.fit(batches, torch.ones(2))
    return part, layout


@pytest.mark.parametrize("frames", [10, 13, 19, 30])
def test_it_gives_back_motion_of_any_length(frames: int) -> None:
    part, layout = _fitted()
    truth = _waves(8, frames, torch.Generator().manual_seed(1))
    length = torch.full((8, 1), float(frames))
    unlocked = layout.unlocked(length)
    latent = part.encode(part.blocks(truth, length, unlocked)) * unlocked[..., None]
    found = part.decode(latent, length, unlocked, frames)
    assert (found - truth).square().mean().sqrt() < 0.1


def test_components_have_unit_variance_and_the_last_bears_the_most_noise() -> None:
    part, layout = _fitted()
    truth = _waves(400, 30, torch.Generator().manual_seed(2))
    length = torch.full((400, 1), 30.0)
    latent = part.encode(part.blocks(truth, length, layout.unlocked(length)))
    assert latent.std(dim=(0, 1)).tolist() == pytest.approx([1.0] * CONFIG.size, rel=0.3)
    assert (part.spread.diff() >= 0).all()
    assert part.spread.max() <= 0


def test_what_is_beyond_the_end_or_locked_does_not_matter() -> None:
    part, layout = _fitted()
    truth = _waves(4, 30, torch.Generator().manual_seed(3))
    length = torch.full((4, 1), 17.0)
    unlocked = layout.unlocked(length)
    other = truth.clone()
    other[:, 17:] = 99.0
    found = part.blocks(truth, length, unlocked)
    torch.testing.assert_close(part.blocks(other, length, unlocked), found)
    latent = part.encode(found)
    decoded = part.decode(latent, length, unlocked, 20)
    latent[:, 3:] = 99.0
    torch.testing.assert_close(part.decode(latent, length, unlocked, 20), decoded)
    torch.testing.assert_close(decoded[:, 17], decoded[:, 16])


def test_too_few_blocks_are_refused() -> None:
    part = LinearPart(CONFIG.size, FRAMES, 2)
    length = torch.full((1, 1), 30.0)
    batch = (_waves(1, 30, torch.Generator()), length, Layout(CONFIG).unlocked(length))
    with pytest.raises(ValueError, match="too few"):
        part.fit([batch], torch.ones(2))


def test_a_new_vae_corrects_nothing() -> None:
    model = LatentModel(CONFIG).vae
    frames = torch.randn(2, 30, 138)
    length = torch.tensor([[30.0], [20.0]])
    mean, spread = model.encode(frames, length)
    assert not mean.any()
    assert not spread.any()
    assert not model.decode(mean, length, 30).any()
