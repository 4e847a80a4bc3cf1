"""Open a model file with a selectable backend."""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.base import Log, Stream
from pallas_ros.runtime.model_file import ModelFile

BACKENDS = ("auto", "tensorrt", "onnxruntime", "torch")

TORCH_BACKEND = "pallas_ros.torch_runtime.backend"
"""Imported by name, because no module of the real-time path may import torch."""


def open_stream(
    path: str | Path,
    backend: str = "auto",
    batch: int = 1,
    threads: int = 1,
    expect: Mapping[str, Any] | None = None,
    log: Log | None = None,
) -> Stream:
    """Open a model file as a stream.

    Args:
        path: the ``.onnx`` file.
        backend: ``tensorrt``, ``onnxruntime``, ``torch``, or ``auto``: TensorRT if it runs, else
            ONNX Runtime, with one line in the log.
        batch: bodies processed together, 1 to 16.
        threads: CPU threads per step (ONNX Runtime and torch); 1 is best for models of this size.
        expect: metadata that must match, e.g. ``{"kind": "pallas", "rate_hz": 60, "joints":
            JOINTS}``.
        log: called with log lines for the operator; the ``pallas.runtime`` logger by default.

    Raises:
        PallasError: the file or the backend cannot be used, in one sentence.
    """
    if backend not in BACKENDS:
        raise PallasError(
            f"unknown inference backend '{backend}': choose one of {', '.join(BACKENDS)}"
        )
    if threads < 1:
        raise PallasError(f"{threads} inference threads: give 1 or more")
    log = log or logging.getLogger("pallas.runtime").info
    model = ModelFile.load(path, expect)
    if backend == "auto":
        try:
            return _open("tensorrt", model, batch, threads, log)
        except PallasError as error:
            log(f"inference on ONNX Runtime (CPU): {error}")
            backend = "onnxruntime"
    return _open(backend, model, batch, threads, log)


def _open(backend: str, model: ModelFile, batch: int, threads: int, log: Log) -> Stream:
    """Open the backend; it is imported on demand, because its library may not be installed."""
    if backend == "onnxruntime":
        from pallas_ros.runtime.onnxruntime_backend import OnnxRuntimeStream

        return OnnxRuntimeStream(model, batch, threads)
    if backend == "tensorrt":
        from pallas_ros.runtime.tensorrt_backend import TensorRtStream

        return TensorRtStream(model, batch, log=log)
    try:
        torch_backend = importlib.import_module(TORCH_BACKEND)
    except ImportError:
        raise PallasError(
            "inference backend 'torch' needs PyTorch: pip install 'pallas-ros[train]', or choose"
            " onnxruntime"
        ) from None
    stream: Stream = torch_backend.TorchStream.open(model, batch, threads)
    return stream
