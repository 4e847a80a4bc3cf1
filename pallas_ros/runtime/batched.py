"""A stateless model that evaluates any number of rows, from any thread."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.runtime.base import Stream
from pallas_ros.runtime.stream import open_stream

F32 = NDArray[np.float32]


class BatchedStream:
    """Streams for several batch sizes, opened when first needed; they serve one thread at a time.

    Args:
        path: the model file, of the package or of the user's (`resource`).
        expect: metadata that must match, as of `open_stream`.
        backend: as of `open_stream`.
        sizes: batch sizes for which streams are opened, in ascending order. Smaller batches are
            padded to the next size, larger ones are split. None opens a stream for every size.
        missing: advice that is added to the message if the file is missing.

    Raises:
        PallasError: the file is missing, damaged, or of another kind.
    """

    def __init__(
        self,
        path: str | Path,
        expect: Mapping[str, Any],
        backend: str = "onnxruntime",
        sizes: Sequence[int] | None = None,
        missing: str = "",
    ) -> None:
        try:
            self.path = resource(path)
        except PallasError as error:
            if not missing:
                raise
            raise PallasError(f"{error}: {missing}") from None
        self._expect = expect
        self._backend = backend
        self._sizes = sizes
        self._streams: dict[int, Stream] = {}
        self._one_at_a_time = threading.Lock()
        self.first = self._stream(1)
        """The stream of one row: its metadata, and the shapes of its inputs and outputs."""

    def _stream(self, batch: int) -> Stream:
        if batch not in self._streams:
            self._streams[batch] = open_stream(self.path, self._backend, batch, expect=self._expect)
        return self._streams[batch]

    def step(self, inputs: Mapping[str, F32]) -> dict[str, F32]:
        """The outputs (N, ...) for inputs (N, ...), by name."""
        rows = len(next(iter(inputs.values())))
        if self._sizes is None:
            return self._step(inputs, rows, rows)
        most = self._sizes[-1]
        parts = []
        for begin in range(0, rows, most):
            part = {name: values[begin : begin + most] for name, values in inputs.items()}
            count = min(most, rows - begin)
            parts.append(self._step(part, count, next(s for s in self._sizes if s >= count)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _step(self, inputs: Mapping[str, F32], rows: int, batch: int) -> dict[str, F32]:
        filled = {
            name: values if rows == batch else np.resize(values, (batch, *values.shape[1:]))
            for name, values in inputs.items()
        }
        with self._one_at_a_time:  # a stream's buffers serve one thread
            out = self._stream(batch).step(filled)
            return {name: values[:rows].copy() for name, values in out.items()}
