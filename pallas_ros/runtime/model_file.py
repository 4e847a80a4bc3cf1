"""Released model file: an ONNX graph of one streaming step, with embedded JSON metadata.

Every input ``state_X`` has an output ``next_X`` of the same shape and starts at zero; the other
inputs and outputs are the data. The first axis of each tensor is the batch, symbolic in the file
(``batch``, 1 to 16) and fixed when the model is opened. All data are float32.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SHINS
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.opening import read_bytes

METADATA_KEY = "pallas"
BATCH_AXIS = "batch"
MAX_BATCH = 16
STATE = "state_"
NEXT = "next_"
MAX_BYTES = 500_000_000
"""ONNX Runtime needs several times as much memory; the released models are below 20 MB."""
MAX_NUMBERS = 10_000_000
"""Largest sum of inputs or of outputs of one body, states included; below 100,000 in released
models.
"""
MAX_TENSORS = 200
"""Largest count of inputs, or of outputs, states included; released models have at most 21."""
OLDEST_PALLAS = "2026-11-29"
"""Date of the first weights of PALLAS trained on upright shins."""
UNSIGNED = "0" * 64
"""Placeholder for the file's own hash while that is computed."""

_STATED = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """Validated contents of an ONNX file; ``load`` reads one.

    Attributes:
        path: source file.
        data: the bytes, read once, so that the validated bytes are those that run.
        metadata: the JSON document (``kind``, ``rate_hz``, ``joints``, ``sites``, ``git``,
            ``created``, ``sha256``, …).
        inputs: data inputs, name to shape after the batch axis.
        outputs: data outputs, likewise.
        states: states, name without prefix to shape after the batch axis.
        fixed_batch: the batch the file was exported for, or None if the axis is symbolic.
    """

    path: Path
    data: bytes
    metadata: dict[str, Any]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    states: dict[str, Shape]
    fixed_batch: int | None

    @property
    def sha256(self) -> str:
        """Hash of the bytes on disk, which identifies the model in caches and reports."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def load(cls, path: str | Path, expect: Mapping[str, Any] | None = None) -> "ModelFile":
        """Read and validate a model file.

        Args:
            path: the ``.onnx`` file.
            expect: required metadata, key to value (``rate_hz``, ``joints``, ``sites``, ``kind``,
                …).

        Raises:
            PallasError: the file is missing, not a model of this package, damaged, or does not
                match ``expect``, or a PALLAS of version 0.2 or older.
        """
        path = Path(path)
        data = read_bytes(path, "model file (a released .onnx)", MAX_BYTES)
        _check_stated_hash(path, data)
        import onnxruntime  # imported here because `realtime` does not need it

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
            properties = session.get_modelmeta().custom_metadata_map
        except (
            Exception
        ) as error:  # onnxruntime raises its own exceptions, some of them plain RuntimeErrors
            raise PallasError(
                f"model file {path} is not an ONNX model that ONNX Runtime can read:"
                f" {_first_line(error)}"
            ) from None
        metadata = _metadata(path, properties)
        _check_hash(path, data, metadata)
        for key, value in (expect or {}).items():
            _check_fit(path, metadata, key, value)
        if (expect or {}).get("kind") == "pallas":
            _check_age(path, metadata)
        inputs = _shapes(path, session.get_inputs())
        outputs = _shapes(path, session.get_outputs())
        batches = {shape[0] for shape in (*inputs.values(), *outputs.values())}
        if len(batches) != 1:
            raise PallasError(
                f"model file {path} has tensors of different batch axes"
                f" {sorted(map(str, batches))}: export it again"
            )
        batch = batches.pop()
        states = _states(path, inputs, outputs)
        return cls(
            path,
            data,
            metadata,
            {name: shape[1:] for name, shape in inputs.items() if not name.startswith(STATE)},
            {name: shape[1:] for name, shape in outputs.items() if not name.startswith(NEXT)},
            states,
            None if batch < 0 else batch,
        )

    def check_batch(self, batch: int) -> None:
        """Check that the file supports a batch size.

        Raises:
            PallasError: outside 1 to 16, or not the batch that the file was exported for.
        """
        if not 1 <= batch <= MAX_BATCH:
            raise PallasError(
                f"a batch of {batch} bodies is outside 1 to {MAX_BATCH}: open a second stream for"
                " more"
            )
        if self.fixed_batch is not None and batch != self.fixed_batch:
            raise PallasError(
                f"model file {self.path} was exported for {self.fixed_batch} bodies, not {batch}:"
                " export it with a free batch axis"
            )


def sign(data: bytes) -> bytes:
    """Insert the SHA-256 of the file in place of ``UNSIGNED``.

    The metadata must contain ``UNSIGNED`` exactly once.
    """
    if data.count(UNSIGNED.encode()) != 1:
        raise ValueError("the metadata must hold the unsigned hash exactly once")
    return data.replace(UNSIGNED.encode(), hashlib.sha256(data).hexdigest().encode())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0][:200]


def _metadata(path: Path, properties: Mapping[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in properties:
        raise PallasError(
            f"model file {path} carries no '{METADATA_KEY}' metadata: it was not made by 'pallas"
            " export'"
        )
    document = parse_json(
        properties[METADATA_KEY], f"the metadata of {path}", "description of a model"
    )
    if not isinstance(document, dict):
        raise PallasError(
            f"model file {path} carries '{METADATA_KEY}' metadata that is not a JSON object:"
            " export it again"
        )
    return document


def _check_stated_hash(path: Path, data: bytes) -> None:
    """Reject a damaged file before ONNX Runtime parses it.

    The hash, if any, is found by searching the bytes.
    """
    stated = _STATED.search(data)
    if stated and not _agrees(data, stated[1]):
        raise PallasError(
            f"model file {path} is damaged or was changed after export (its hash does not match):"
            " download or export it again"
        )


def _agrees(data: bytes, stated: bytes) -> bool:
    return hashlib.sha256(data.replace(stated, UNSIGNED.encode())).hexdigest() == stated.decode()


def _check_hash(path: Path, data: bytes, metadata: Mapping[str, Any]) -> None:
    stated = metadata.get("sha256")
    if not (isinstance(stated, str) and len(stated) == len(UNSIGNED) and stated.isascii()):
        raise PallasError(
            f"model file {path} does not state its own hash: export it again with 'pallas export'"
        )
    if not _agrees(data, stated.encode()):
        raise PallasError(
            f"model file {path} is damaged or was changed after export (its hash does not match):"
            " download or export it again"
        )


def _check_fit(path: Path, metadata: Mapping[str, Any], key: str, wanted: Any) -> None:
    made = metadata.get(key)
    wanted = list(wanted) if isinstance(wanted, tuple) else wanted
    if made == wanted:
        return
    if isinstance(made, list) and isinstance(wanted, list) and len(made) == len(wanted):
        index = next(i for i, pair in enumerate(zip(made, wanted)) if pair[0] != pair[1])
        made = f"'{made[index]}' as number {index}"
        wanted = f"'{wanted[index]}'"
    elif isinstance(made, list) and isinstance(wanted, list):
        made = len(made)
        wanted = len(wanted)
    raise PallasError(
        f"model file {path} was made for {key} {made}, but the configuration has {wanted}: use a"
        f" model made for it or change {key}"
    )


def _check_age(path: Path, metadata: Mapping[str, Any]) -> None:
    """Reject PALLAS files of 0.1, without optional sensors, and of 0.2, with leaning shins.

    Files exported by 0.3.0 do not state their shins, so that their date decides.
    """
    if metadata.get("shins") == SHINS:
        return
    created = metadata.get("created")
    if "optional_sites" not in metadata or str(created or "") < OLDEST_PALLAS:
        raise PallasError(
            f"model file {path} is of version 0.2 or older (created {created}): use the"
            " models/pallas.onnx of this version, or train and export again"
        )


def _shapes(path: Path, tensors: list[Any]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    total = 0
    if len(tensors) > MAX_TENSORS:
        raise PallasError(
            f"model file {path} has {len(tensors)} inputs or outputs, more than {MAX_TENSORS};"
            " export it with fewer states"
        )
    for tensor in tensors:
        if tensor.type != "tensor(float)":
            raise PallasError(
                f"model file {path}: '{tensor.name}' is {tensor.type}, but a stream takes float32"
                " only; export it again"
            )
        batch, *rest = tensor.shape or [None]
        if not (batch == BATCH_AXIS or isinstance(batch, int)) or not all(
            isinstance(n, int) and n > 0 for n in rest
        ):
            raise PallasError(
                f"model file {path}: '{tensor.name}' has shape {tensor.shape}, expected"
                f" ({BATCH_AXIS}, fixed sizes); export it again"
            )
        total += math.prod(rest)
        if total > MAX_NUMBERS:
            raise PallasError(
                f"model file {path}: its tensors up to '{tensor.name}' of shape {tensor.shape} have"
                f" more than {MAX_NUMBERS} numbers for each body; export it again"
            )
        shapes[tensor.name] = (batch if isinstance(batch, int) else -1, *rest)
    return shapes


def _states(
    path: Path, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
) -> dict[str, Shape]:
    read = {name[len(STATE) :]: shape for name, shape in inputs.items() if name.startswith(STATE)}
    written = {name[len(NEXT) :]: shape for name, shape in outputs.items() if name.startswith(NEXT)}
    for name in sorted(read.keys() ^ written.keys()):
        there, missing = (STATE, NEXT) if name in read else (NEXT, STATE)
        raise PallasError(
            f"model file {path} has '{there}{name}' but no '{missing}{name}': a state needs both;"
            " export it again"
        )
    for name, shape in read.items():
        if written[name] != shape:
            raise PallasError(
                f"model file {path}: state '{name}' goes in as {shape} and comes out as"
                f" {written[name]}; export it again"
            )
    return {name: shape[1:] for name, shape in read.items()}
