"""Interface of the inference backends."""

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
    """A model that processes one frame at a time. Not thread-safe.

    Attributes:
        backend: name of the backend.
        metadata: metadata of the model file.
        batch: number of bodies processed together.
        inputs: data inputs, name to shape, batch axis included.
        outputs: data outputs, likewise.
    """

    backend: str

    def __init__(self, model: ModelFile, batch: int) -> None:
        """Check that the model supports ``batch`` bodies and compute the shapes."""
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
        """Process one frame and advance the state.

        Args:
            inputs: every data input, name to array of its shape (or broadcastable to it), finite.

        Returns:
            The data outputs, float32: views into buffers that the next step overwrites.

        Raises:
            PallasError: an input is missing, of the wrong shape or not finite; the state is
                unchanged.
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
                    f"the model's input '{name}' has shape {np.shape(inputs[name])}, expected"
                    f" {buffer.shape}"
                ) from None
            if not math.isfinite(np.vdot(buffer, buffer)):
                # a tenth of the cost of isfinite().all(), and no valid input overflows it
                raise PallasError(
                    f"the model's input '{name}' contains a value that is not finite: the frame"
                    " must be dropped"
                )
        return self._run()

    def warm_up(self, frames: int = 20) -> None:
        """Process ``frames`` frames of zeros, then reset.

        This allocates memory and selects kernels before the first real frame.
        """
        zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.inputs.items()}
        for _ in range(frames):
            self.step(zeros)
        self.reset()

    @property
    @abstractmethod
    def _input_buffers(self) -> Mapping[str, F32]:
        """Return the buffers of the data inputs, name to array."""

    @abstractmethod
    def _run(self) -> Mapping[str, F32]:
        """Run the step on the input buffers and return the data outputs."""

    @abstractmethod
    def reset(self) -> None:
        """Reset all states to zero: the next frame is the first."""
