"""TensorRT engines, built from a model file and cached per user.

Supports both ``tensorrt`` and ``tensorrt_rtx``. Building with TensorRT for RTX needs no GPU (ahead
of time, for a named compute capability); running does.
"""

import importlib
import os
import re
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.base import Log
from pallas_ros.runtime.cuda import Cuda
from pallas_ros.runtime.model_file import ModelFile

PRECISIONS = ("fp32", "tf32")
"""No fp16: it cannot represent a frame counter exactly, and such a small step is bound by kernel
launches, not by arithmetic.
"""

_MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def tensorrt() -> ModuleType:
    """Return the available TensorRT Python module.

    Raises:
        PallasError: none is installed, or its libraries do not load.
    """
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
        except OSError as error:
            raise PallasError(
                f"TensorRT ({name}) is installed but does not load: {error}"
            ) from None
    raise PallasError(
        "TensorRT is not installed: pip install 'pallas-ros[tensorrt]', or use the onnxruntime"
        " backend"
    )


def build_engine(
    model: ModelFile, batch: int = 1, precision: str = "fp32", capability: str | None = None
) -> bytes:
    """Compile a model file.

    Args:
        model: the model.
        batch: bodies processed together; fixed in the engine.
        precision: ``fp32``, or ``tf32`` for tensor cores with 10-bit mantissas.
        capability: e.g. ``"8.6"``: build ahead of time for such GPUs (TensorRT for RTX only); None:
            for the GPU of this machine.

    Returns:
        The serialized engine.

    Raises:
        PallasError: the model or a setting is rejected.
    """
    model.check_batch(batch)
    if precision not in PRECISIONS:
        raise PallasError(
            f"unknown TensorRT precision '{precision}': choose one of {', '.join(PRECISIONS)}"
        )
    trt: Any = tensorrt()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.data):
        why = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise PallasError(f"TensorRT {trt.__version__} cannot read {model.path}: {why}")
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = (batch, *tuple(tensor.shape)[1:])
    config = builder.create_builder_config()
    if precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if capability is not None:
        _target(trt, config, capability)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise PallasError(
            f"TensorRT {trt.__version__} could not build an engine from {model.path}: see"
            " TensorRT's message above, or use the onnxruntime backend"
        )
    return bytes(engine)


def _target(trt: Any, config: Any, capability: str) -> None:
    known = getattr(trt, "ComputeCapability", None)
    target = getattr(known, "SM" + capability.replace(".", ""), None)
    if target is None:
        raise PallasError(
            f"{trt.__name__} {trt.__version__} cannot build ahead of time for compute capability"
            f" {capability}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)


def cache_folder() -> Path:
    """Return the engine cache: ``$XDG_CACHE_HOME/pallas/engines`` (default ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pallas" / "engines"


def engine_path(model: ModelFile, cuda: Cuda, batch: int, precision: str) -> Path:
    """Return the cache file of an engine.

    Its name depends on the model, the GPU, the TensorRT library, the batch and the precision.
    """
    trt = tensorrt()
    parts = (
        model.path.stem,
        model.sha256[:16],
        cuda.name,
        f"sm{cuda.capability}",
        trt.__name__,
        trt.__version__,
        f"b{batch}",
        precision,
    )
    return cache_folder() / (
        re.sub(r"[^A-Za-z0-9.]+", "_", "-".join(parts).replace("-", "~")).replace("~", "-")
        + ".engine"
    )


def cached_engine(model: ModelFile, cuda: Cuda, batch: int, precision: str, log: Log) -> bytes:
    """Return the engine for this GPU from the cache; build and add it (atomically) if missing."""
    path = engine_path(model, cuda, batch, precision)
    if path.is_file():
        return path.read_bytes()
    log(
        f"building the TensorRT engine of {model.path.name} for {cuda.name} (once, takes up to a"
        " few minutes)"
    )
    start = time.monotonic()
    engine = build_engine(model, batch, precision)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(engine)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    log(f"TensorRT engine built in {time.monotonic() - start:.0f} s, kept as {path}")
    return engine


def forget_engine(model: ModelFile, cuda: Cuda, batch: int, precision: str) -> None:
    """Remove an engine that does not load from the cache."""
    engine_path(model, cuda, batch, precision).unlink(missing_ok=True)


def deserialize(engine: bytes) -> Any:
    """Deserialize an ``ICudaEngine``; None if this TensorRT rejects it."""
    trt: Any = tensorrt()
    return trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(engine)
