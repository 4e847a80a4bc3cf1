"""The interface that every back-end implements."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.model_file import ModelFile, Shape

F32 = NDArray[np.float32]
Log = Callable[[str], None]


class Stream(ABC):
    """A model that is fed one frame at a time. Not for use from two threads at once.

    Attributes:
        backend: the name of the backend that runs it.
        metadata: what the model file says about itself.
        batch: number of bodies stepped together.
        inputs: data inputs, name to shape, batch axis included.
        outputs: data outputs, likewise.
    """

    backend: str

    def __init__(self, model: ModelFile, batch: int) -> None:
        """Check that the model serves ``batch`` bodies and lay out the shapes."""
        model.check_batch(batch)
        self.metadata: dict[str, Any] = model.metadata
        self.batch = batch
        self.inputs: dict[str, Shape] = {
            name: (batch, *shape) for name, shape in model.inputs.items()
        }
        self.outputs: dict[str, Shape] = {
            name: (batch, *shape) for name, shape in model.outputs.items()
        }

    def step(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, F32]:
        """One frame through the model; the state moves on.

        Args:
            inputs: every data input, name to array of its shape (anything that broadcasts to it),
                finite.

        Returns:
            The data outputs, float32: views into buffers that the next step overwrites.

        Raises:
            PallasError: an input is missing, of the wrong shape or not finite; the state is
                untouched.
        """
        for name, buffer in self._input_buffers.items():
            try:
                buffer[...] = inputs[name]
            except KeyError:
                raise PallasError(
                    f"the model's input '{name}' is missing: it needs"
                    f" {', '.join(self._input_buffers)}"
                ) from None
            except ValueError:
                raise PallasError(
                    f"the model's input '{name}' has shape {np.shape(inputs[name])}, wanted is"
                    f" {buffer.shape}"
                ) from None
            if not math.isfinite(np.vdot(buffer, buffer)):
                # a tenth of the price of isfinite().all(), and no sound input overflows it
                raise PallasError(
                    f"the model's input '{name}' holds a value that is not finite: the frame must"
                    " be dropped"
                )
        return self._run()

    def warm_up(self, frames: int = 20) -> None:
        """Run ``frames`` frames of zeros, so that memory is touched and kernels are chosen before
        the first real one; then reset.
        """
        zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.inputs.items()}
        for _ in range(frames):
            self.step(zeros)
        self.reset()

    @property
    @abstractmethod
    def _input_buffers(self) -> Mapping[str, F32]:
        """Where the data inputs are written, name to array."""

    @abstractmethod
    def _run(self) -> Mapping[str, F32]:
        """Run the step on the input buffers; give the data outputs."""

    @abstractmethod
    def reset(self) -> None:
        """Every state back to zero: the next frame is the first."""
