"""Codebooks of the token generator, in a separate file that unlearning can replace."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.weights import weights_metadata

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Codebook:
    """Codebook of a model.

    Attributes:
        entries: (K, D), one row per code.
        model: name of the model that it belongs to: `fingerprint` of the entries as trained.
        document: metadata of the unlearning (``concept``, ``replaced``, ``safe``, ...).
    """

    entries: F32
    model: str
    document: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, model: str | None = None) -> "Codebook":
        """Read a codebook; if ``model`` is given, require that it belongs to this model.

        Raises:
            PallasError: the file is not a codebook, is damaged, or is of another model.
        """
        meta = weights_metadata(path)
        document = parse_json(meta.get("pallas", "{}"), str(path), "description of a codebook")
        if not isinstance(document, dict) or document.get("kind") != "tokens_codebook":
            raise PallasError(f"{path}: not a codebook: give one written by `pallas unlearn`")
        try:
            entries = np.asarray(load_file(path)["codebook"], dtype=np.float32)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise PallasError(f"{path}: damaged codebook ({error})") from None
        if entries.ndim != 2 or not np.isfinite(entries).all():
            raise PallasError(f"{path}: damaged codebook: its entries are not a finite table")
        own = str(document.get("model", ""))
        if model is not None and own != model:
            raise PallasError(
                f"{path}: codebook of another model ({own[:12]}, not {model[:12]}): create one for"
                " this model with `pallas unlearn`"
            )
        return cls(entries, own, document)

    def save(self, path: str | Path) -> None:
        """Write the codebook atomically."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {**self.document, "kind": "tokens_codebook", "model": self.model}
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        entries = np.ascontiguousarray(self.entries, dtype=np.float32)
        try:
            save_file({"codebook": entries}, partial, metadata={"pallas": json.dumps(document)})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def fingerprint(entries: F32) -> str:
    """Name of a model: SHA-256 of its codebook ``entries`` (codes, dim) as trained."""
    data = np.ascontiguousarray(entries, dtype="<f4").tobytes()
    return hashlib.sha256(data).hexdigest()
