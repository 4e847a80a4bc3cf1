"""TensorRT on an NVIDIA GPU: the state stays on the device, a step is one CUDA graph.

Two graphs are captured, one for each phase of the ping-pong state buffers; each uploads the inputs,
runs the engine and downloads the outputs. Never executed on a GPU by its authors: engines are built
ahead of time in tests, and this logic is tested against a simulated device.
"""

import math
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import engine as engines
from pallas_ros.runtime.base import F32, Log, Stream
from pallas_ros.runtime.cuda import Cuda
from pallas_ros.runtime.model_file import NEXT, STATE, ModelFile


class TensorRtStream(Stream):
    """A step as a TensorRT engine."""

    backend = "tensorrt"

    def __init__(
        self,
        model: ModelFile,
        batch: int = 1,
        precision: str = "fp32",
        log: Log = print,
        cuda: Cuda | None = None,
    ) -> None:
        """Load or build the engine, allocate the buffers, capture both phases.

        Raises:
            PallasError: no GPU, no TensorRT, or the model is rejected.
        """
        super().__init__(model, batch)
        self._cuda = cuda or Cuda()
        self._engine = _open_engine(model, self._cuda, batch, precision, log)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise PallasError(
                f"TensorRT could not start the engine of {model.path}: too little GPU memory? Use"
                " the onnxruntime backend"
            )
        self._host_in = {
            name: self._cuda.pinned_array(shape) for name, shape in self.inputs.items()
        }
        self._host_out = {
            name: self._cuda.pinned_array(shape) for name, shape in self.outputs.items()
        }
        hosts = self._host_in | self._host_out
        self._device = {
            name: self._cuda.device_buffer(array.nbytes) for name, array in hosts.items()
        }
        self._state_bytes = {
            name: batch * math.prod(shape) * 4 for name, shape in model.states.items()
        }
        self._states = [
            {name: self._cuda.device_buffer(size) for name, size in self._state_bytes.items()}
            for _ in range(2)
        ]
        weakref.finalize(
            self,
            self._cuda.release,
            [*self._device.values(), *self._states[0].values(), *self._states[1].values()],
            [array.ctypes.data for array in hosts.values()],
        )
        self._phase = 0
        self._graphs: list[int] = []
        self._capture()

    def _capture(self) -> None:
        """Run each phase once (TensorRT allocates and compiles lazily), then capture it."""
        for phase in (0, 1):
            self._phase = phase
            self.reset()
            self._enqueue(phase)
            self._cuda.synchronize()
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is None or capturable(self._cuda.stream):
            self._graphs = [self._cuda.capture(partial(self._enqueue, phase)) for phase in (0, 1)]
        self._phase = 0
        self.reset()

    def _enqueue(self, phase: int) -> None:
        for name, array in self._host_in.items():
            self._cuda.upload(self._device[name], array)
        addresses = dict(self._device)
        addresses |= {STATE + name: address for name, address in self._states[phase].items()}
        addresses |= {NEXT + name: address for name, address in self._states[1 - phase].items()}
        for name, address in addresses.items():
            self._context.set_tensor_address(name, address)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise PallasError(
                "TensorRT refused the step: use the onnxruntime backend and report TensorRT's"
                " message"
            )
        for name, array in self._host_out.items():
            self._cuda.download(array, self._device[name])

    @property
    def _input_buffers(self) -> Mapping[str, F32]:
        return self._host_in

    def _run(self) -> Mapping[str, F32]:
        self._cuda.make_current()
        if self._graphs:
            self._cuda.launch(self._graphs[self._phase])
        else:
            self._enqueue(self._phase)
        self._cuda.synchronize()
        self._phase ^= 1
        return self._host_out

    def reset(self) -> None:
        """Reset all states to zero: the next frame is the first."""
        self._cuda.make_current()
        for name, address in self._states[self._phase].items():
            self._cuda.clear(address, self._state_bytes[name])
        self._cuda.synchronize()


def _open_engine(model: ModelFile, cuda: Cuda, batch: int, precision: str, log: Log) -> Any:
    """Load the engine from the cache; rebuild it if damaged."""
    opened = engines.deserialize(engines.cached_engine(model, cuda, batch, precision, log))
    if opened is None:
        engines.forget_engine(model, cuda, batch, precision)
        opened = engines.deserialize(engines.cached_engine(model, cuda, batch, precision, log))
    if opened is None:
        raise PallasError(
            f"TensorRT does not load the engine that it built from {model.path}: use the"
            " onnxruntime backend"
        )
    return opened
