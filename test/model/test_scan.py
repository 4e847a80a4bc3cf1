"""The recurrence of arms and legs: its explicit gradient equals that of the plain definition."""

import pytest

torch = pytest.importorskip("torch")

from pallas_ros.model.scan import Form, scan  # noqa: E402


def plain(form: Form, condition, proposed, keep, measured, x, seen, weights):  # type: ignore[no-untyped-def]
    """The definition, differentiated by autograd."""
    w_x, w_middle, b_middle, w_out, b_out = weights
    poses = []
    others = []
    stays = seen
    for t in range(keep.shape[1]):
        hidden = torch.nn.functional.silu(condition[:, t] + x @ w_x.T)
        middle = torch.nn.functional.silu(hidden @ w_middle.T + b_middle) + hidden
        target, motion, gate, contacts, velocity = (middle @ w_out.T + b_out).split(form.sizes, -1)
        target = target + proposed[:, t]
        moved = x[:, : form.numbers] + (0.1 * motion if form.motion else 0)
        stay = ((1 - torch.sigmoid(gate)) * stays).repeat_interleave(6, -1)
        pose = (target + stay * (moved - target)) * keep[:, t] + measured[:, t]
        poses.append(pose)
        others.append(torch.cat((contacts, velocity), -1))
        x = torch.cat((pose, torch.sigmoid(contacts)), -1)
        stays = torch.ones_like(seen)
    return torch.stack(poses, 1), torch.stack(others, 1)


@pytest.mark.parametrize(
    "form", [Form(12, motion=True), Form(12, motion=False, contacts=2, velocity=3)]
)
def test_values_and_gradient_are_those_of_the_definition(form: Form) -> None:
    g = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> "torch.Tensor":
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    batch = 2
    frames = 4
    hidden = 5
    n = form.numbers
    outputs = sum(form.sizes)
    series = (draw(batch, frames, hidden), *(draw(batch, frames, n) for _ in range(3)))
    past = draw(batch, n + form.contacts)
    seen = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    weights = (
        draw(hidden, n + form.contacts),
        draw(hidden, hidden),
        draw(hidden),
        draw(outputs, hidden),
        draw(outputs),
    )
    inputs = (*series, past, *weights)
    expected = plain(form, *series, past, seen, weights)
    found = scan(form, *series, past, seen, weights)
    wanted = [torch.randn(x.shape, generator=g, dtype=torch.float64) for x in expected]
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    gradients = [
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(out, wanted)), inputs)
        for out in (found, expected)
    ]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-9)
