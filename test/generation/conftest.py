"""A tiny generator with random weights."""

import numpy as np
import pytest
import torch

from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.generation.flow import Flow
from hpstm_ros.generation.text import TEXT
from hpstm_ros.model.expectation import ExpectationConfig, ExpectationNet, ExpectationStep
from hpstm_ros.model.hpstm_gen import HpstmGen, HpstmGenConfig
from hpstm_ros.train.generator_export import FlowStep


@pytest.fixture(scope="session")
def tiny_model() -> HpstmGen:
    """Weights drawn at random, small."""
    torch.manual_seed(0)
    model = HpstmGen(HpstmGenConfig(text=TEXT, width=16, stem=8, heads=2, hidden=16, layers=1))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        model.mean[2] = 0.95  # a pelvis at its height, joints as in the T-pose
        model.mean[66:198].copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(22))
        model.scale.fill_(0.1)
    return model.eval()


class TorchFlow(Flow):
    """The flow with a torch model in the place of its exported file, for exporting takes long."""

    def __init__(self, model: HpstmGen) -> None:
        self._step = FlowStep(model)
        self.metadata = {}
        self._ddpm = model.config.ddpm
        self._mean = model.mean.numpy()
        self._scale = model.scale.numpy()

    def evaluate(self, state, tau, inputs):
        """See `Flow.evaluate`."""
        given = {"state": state, "tau": np.full((len(state), 1), tau, np.float32), **inputs}
        tensors = [torch.from_numpy(given[name]) for name in self._step.example_inputs(1)]
        with torch.no_grad():
            end, _ = self._step(*tensors)
        return end.numpy()


@pytest.fixture(scope="session")
def tiny_flow(tiny_model) -> Flow:
    """The flow of `tiny_model`."""
    return TorchFlow(tiny_model)


class TorchExpectation(Expectation):
    """The network in the place of its exported file."""

    def __init__(self, model: ExpectationNet) -> None:
        self._step = ExpectationStep(model)
        self.scale = 1.0

    def _evaluate(self, given, first):
        tensors = [torch.from_numpy(given[name][first : first + 16]) for name in given]
        with torch.no_grad():
            return tuple(part.numpy() for part in self._step(*tensors))


@pytest.fixture(scope="session")
def tiny_expectation() -> Expectation:
    """A network that adds a little to what is bridged."""
    torch.manual_seed(0)
    model = ExpectationNet(ExpectationConfig(width=8, layers=1))
    with torch.no_grad():
        model.write.weight.normal_(std=1e-4)
    return TorchExpectation(model.eval())
