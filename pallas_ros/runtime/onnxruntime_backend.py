"""Default backend: ONNX Runtime on the CPU.

Buffers are bound once; a step copies the frame, runs, and swaps two sets of state buffers.
"""

from collections.abc import Mapping

import numpy as np
import onnxruntime

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.base import F32, Stream
from pallas_ros.runtime.model_file import BATCH_AXIS, NEXT, STATE, ModelFile

_ALIGNMENT = 64  # bytes: cache line and widest vector register


def aligned_zeros(shape: tuple[int, ...]) -> F32:
    """Return float32 zeros aligned to a cache line, so that vector loads never straddle two."""
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(np.float32).reshape(shape)


class OnnxRuntimeStream(Stream):
    """Step on ONNX Runtime with preallocated buffers; nothing is allocated per frame here."""

    backend = "onnxruntime"

    def __init__(self, model: ModelFile, batch: int = 1, threads: int = 1) -> None:
        """Create the session and bind both phases: one phase writes the states the other reads."""
        super().__init__(model, batch)
        self._session = _session(model, batch, threads)
        self._in = {name: aligned_zeros(shape) for name, shape in self.inputs.items()}
        self._out = {name: aligned_zeros(shape) for name, shape in self.outputs.items()}
        self._states = [
            {name: aligned_zeros((batch, *shape)) for name, shape in model.states.items()}
            for _ in range(2)
        ]
        self._bindings = [
            self._bind(self._states[0], self._states[1]),
            self._bind(self._states[1], self._states[0]),
        ]
        self._phase = 0

    def _bind(
        self, state: Mapping[str, F32], following: Mapping[str, F32]
    ) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        inputs = self._in | {STATE + name: array for name, array in state.items()}
        outputs = self._out | {NEXT + name: array for name, array in following.items()}
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding

    @property
    def _input_buffers(self) -> Mapping[str, F32]:
        return self._in

    def _run(self) -> Mapping[str, F32]:
        self._session.run_with_iobinding(self._bindings[self._phase])
        self._phase ^= 1
        return self._out

    def reset(self) -> None:
        """Reset all states to zero: the next frame is the first."""
        for array in self._states[self._phase].values():
            array.fill(0.0)


def _session(model: ModelFile, batch: int, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name(BATCH_AXIS, batch)
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a waiting worker must not busy-wait on another node's core
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return onnxruntime.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    # onnxruntime raises its own exceptions, some of them plain RuntimeErrors
    except Exception as error:
        raise PallasError(
            f"model file {model.path} cannot run on ONNX Runtime {onnxruntime.__version__}:"
            f" {str(error).splitlines()[0][:200]}"
        ) from None
