"""Networks follow their parameters to another device, here the ``meta`` device."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from pallas_ros.data.virtual_imu import EXTRA_INPUTS  # noqa: E402
from pallas_ros.model.config import INPUTS, PallasConfig  # noqa: E402
from pallas_ros.model.gru import GruConfig, GruPallas  # noqa: E402
from pallas_ros.model.pallas import Pallas  # noqa: E402
from pallas_ros.model.solver import Mixing  # noqa: E402

SMALL = PallasConfig(
    width=32, heads=2, hidden=48, window=8, legs_hidden=24, solver_hidden=16, solver_blocks=2
)
NETWORKS: dict[str, Callable[[], Pallas]] = {
    "pallas": lambda: Pallas(SMALL),
    "gru": lambda: GruPallas(GruConfig(width=24)),
}


class OneDevice(TorchDispatchMode):
    """Fails on operations that mix devices, as a GPU does.

    Numbers and indices on the CPU are allowed, as they are there.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See the class."""
        given = tree_leaves((args, kwargs or {}))
        if func.overloadpacket not in (torch.ops.aten.index, torch.ops.aten.copy_):
            devices = {x.device.type for x in given if isinstance(x, torch.Tensor) and x.dim()}
            assert len(devices) <= 1, f"{func} mixes {devices}"
        return func(*args, **(kwargs or {}))


def test_a_frozen_inverse_moves_with_the_network() -> None:
    """The inverse of `Mixing.freeze` moves too, although it is not a parameter."""
    mixing = Mixing(4, 0).eval()
    mixing.freeze()
    assert mixing.to("meta").inverse(torch.zeros(2, 4, device="meta")).device.type == "meta"
    assert mixing.get_buffer("frozen_inverse").device.type == "meta"


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_operation_is_on_the_device_of_the_parameters(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forward pass creates and uses no tensor on the CPU if the network is elsewhere."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for ``meta``
    model = NETWORKS[kind]().to("meta")
    imu = torch.zeros(2, 10, INPUTS, device="meta")
    extra = torch.zeros(2, 10, EXTRA_INPUTS, device="meta")
    with OneDevice():  # type: ignore[no-untyped-call]
        out = model(imu, None, None, extra)
        out = model(imu, out.state, None, extra)
    assert {t.device.type for t in out.state.values()} == {"meta"}


def test_the_fixed_tensors_are_not_part_of_the_weights() -> None:
    """Weights files hold the parameters only."""
    model = Pallas(SMALL)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
