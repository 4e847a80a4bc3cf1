"""Reference backend for tests and comparison: torch. Also exports torch modules to model files.

It is not part of `pallas_ros.runtime`, which is on the real-time path and never imports torch:
`open_stream` imports this module by name when the backend ``torch`` is requested.

A streaming step is an ``nn.Module`` that follows ``StepModule``. The backend finds the module of a
model file in the entry-point group ``pallas.streams``: the name is the metadata's ``kind``, and the
object is a function from a ``.safetensors`` path to the module.
"""

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import onnx
import torch
from torch import Tensor, nn

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.base import F32, Stream
from pallas_ros.runtime.model_file import (
    BATCH_AXIS,
    MAX_BATCH,
    METADATA_KEY,
    NEXT,
    STATE,
    UNSIGNED,
    ModelFile,
    sign,
)

STREAMS = "pallas.streams"
OPSET = 18


class StepModule(Protocol):
    """Interface of a module, with ``forward(*inputs) -> outputs`` in the order of these names."""

    output_names: tuple[str, ...]
    """Data outputs, then one ``next_X`` for every ``state_X``."""

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Return zeros (batch, …) float32 for ``forward``: the data inputs, then the states."""
        ...


class TorchStream(Stream):
    """Reference stream: the torch module itself, eager, in float32."""

    backend = "torch"

    def __init__(
        self, model: ModelFile, module: nn.Module, batch: int = 1, threads: int = 1
    ) -> None:
        """Wrap a ``StepModule`` that matches the model file.

        Its states may differ: the file's graph may be a rearranged one.

        Raises:
            PallasError: its data inputs or outputs differ from the file's.
        """
        super().__init__(model, batch)
        torch.set_num_threads(threads)
        self._module = module.eval()
        tensors: dict[str, Tensor] = module.example_inputs(batch)  # type: ignore[operator]
        names: tuple[str, ...] = module.output_names  # type: ignore[assignment]
        data = {
            name: tuple(tensor.shape)
            for name, tensor in tensors.items()
            if not name.startswith(STATE)
        }
        if data != self.inputs or tuple(
            name for name in names if not name.startswith(NEXT)
        ) != tuple(self.outputs):
            raise PallasError(
                f"the torch weights beside {model.path} have other inputs or outputs than the"
                " file: export the model again"
            )
        self._tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        self._names = names
        self._views: dict[str, F32] = {name: self._tensors[name].numpy() for name in self.inputs}

    @classmethod
    def open(
        cls, model: ModelFile, batch: int = 1, threads: int = 1, weights: Path | None = None
    ) -> "TorchStream":
        """Open the module of the model's ``kind`` with ``weights``, by default those next to the
        file.

        Raises:
            PallasError: the kind is unknown or the weights are missing.
        """
        kind = str(model.metadata.get("kind"))
        builders = [
            entry for entry in importlib.metadata.entry_points(group=STREAMS) if entry.name == kind
        ]
        if not builders:
            raise PallasError(
                f"no torch module is known for models of kind '{kind}' ({model.path}): use the"
                " onnxruntime backend"
            )
        weights = weights or model.path.with_suffix(".safetensors")
        if not weights.is_file():
            raise PallasError(
                f"inference backend 'torch' needs the weights {weights}: put them beside the .onnx"
                " file, or use onnxruntime"
            )
        return cls(model, builders[0].load()(weights), batch, threads)

    @property
    def _input_buffers(self) -> Mapping[str, F32]:
        return self._views

    def _run(self) -> Mapping[str, F32]:
        with torch.inference_mode():
            outputs = dict(zip(self._names, self._module(*self._tensors.values()), strict=True))
            for name in self._tensors:
                if name.startswith(STATE):
                    # cloned, because a module may return a state or an input unchanged
                    self._tensors[name] = outputs[NEXT + name[len(STATE) :]].clone()
        return {name: outputs[name].numpy() for name in self.outputs}

    def reset(self) -> None:
        """Reset all states to zero: the next frame is the first."""
        for name in self._tensors:
            if name.startswith(STATE):
                self._tensors[name] = torch.zeros_like(self._tensors[name])


def export_stream(module: nn.Module, path: str | Path, metadata: Mapping[str, Any]) -> Path:
    """Write a ``StepModule`` as a model file for batches of 1 to 16, atomically.

    Args:
        module: the step, on the CPU.
        path: the ``.onnx`` file to write.
        metadata: JSON-serialisable metadata: ``kind``, ``rate_hz``, ``joints``, ``sites``,
            ``normalisation``, ``git``, ``created``, …; ``opset``, ``parameters`` and ``sha256`` are
            added here.

    Returns:
        The path written, loaded once as a check.

    Raises:
        PallasError: the exported file is not a valid model file.
    """
    path = Path(path)
    module.eval()
    batch = 2  # torch.export treats an axis of size 1 as a constant
    example: dict[str, Tensor] = module.example_inputs(batch)  # type: ignore[operator]
    names: tuple[str, ...] = module.output_names  # type: ignore[assignment]
    axis = torch.export.Dim(BATCH_AXIS, min=1, max=MAX_BATCH)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            _Positional(module).eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=list(names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple({0: axis} for _ in example),),
        )
    assert program is not None
    graph = program.model_proto
    _clean(graph)
    # no scalars
    weights = (
        tensor
        for tensor in graph.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    )
    parameters = sum(math.prod(tensor.dims) for tensor in weights)
    document = {**metadata, "opset": OPSET, "parameters": parameters, "sha256": UNSIGNED}
    onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(document, sort_keys=True)})
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(sign(graph.SerializeToString()))
    try:
        ModelFile.load(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's internal warnings; problems of a model are raised as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Positional(nn.Module):
    """Give ``torch.export`` one signature for any number of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(*tensors))


def _clean(graph: onnx.ModelProto) -> None:
    """Remove the exporter's debug data: stack traces with build paths, and stale inner shapes."""
    graph.producer_name = "pallas"
    graph.doc_string = ""
    del graph.graph.value_info[:]
    graph.graph.doc_string = ""
    del graph.graph.metadata_props[:]
    for part in (
        *graph.graph.node,
        *graph.graph.input,
        *graph.graph.output,
        *graph.graph.initializer,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
