"""A tiny generator with random weights."""

import pytest
import torch

from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.generation.flow import Flow
from hpstm_ros.generation.text import TEXT
from hpstm_ros.model.expectation import ExpectationConfig, ExpectationNet, ExpectationStep
from hpstm_ros.model.hpstm_gen import HpstmGen, HpstmGenConfig
from hpstm_ros.train.generator_export import FlowStep
from pallas_ros.runtime import BatchedStream


@pytest.fixture(scope="session")
def tiny_model() -> HpstmGen:
    """Small random weights."""
    torch.manual_seed(0)
    model = HpstmGen(HpstmGenConfig(text=TEXT, width=16, stem=8, heads=2, hidden=16, layers=1))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        model.mean[2] = 0.95  # a pelvis at its height, joints as in the T-pose
        model.mean[66:198].copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(22))
        model.scale.fill_(0.1)
    return model.eval()


class TorchBatched(BatchedStream):
    """A torch module instead of its exported file, because exporting is slow."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def step(self, inputs):
        """See `BatchedStream.step`."""
        tensors = [torch.from_numpy(inputs[name]) for name in self._module.example_inputs(1)]
        with torch.no_grad():
            out = self._module(*tensors)
        return {name: x.numpy() for name, x in zip(self._module.output_names, out)}


class TorchFlow(Flow):
    """The flow of a torch model."""

    def __init__(self, model: HpstmGen) -> None:
        self._stream = TorchBatched(FlowStep(model))
        self.metadata = {}
        self._ddpm = model.config.ddpm
        self._mean = model.mean.numpy()
        self._scale = model.scale.numpy()


@pytest.fixture(scope="session")
def tiny_flow(tiny_model) -> Flow:
    """The flow of `tiny_model`."""
    return TorchFlow(tiny_model)


class TorchExpectation(Expectation):
    """The network instead of its exported file."""

    def __init__(self, model: ExpectationNet) -> None:
        self._stream = TorchBatched(ExpectationStep(model))
        self.scale = 1.0


@pytest.fixture(scope="session")
def tiny_expectation() -> Expectation:
    """A network that slightly changes the interpolated values."""
    torch.manual_seed(0)
    model = ExpectationNet(ExpectationConfig(width=8, layers=1))
    with torch.no_grad():
        model.write.weight.normal_(std=1e-4)
    return TorchExpectation(model.eval())
