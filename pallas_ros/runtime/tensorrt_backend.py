"""TensorRT on an NVIDIA GPU. (Being written: refuses for now, so that ``auto`` falls back.)"""

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.model_file import ModelFile
from pallas_ros.runtime.stream import F32, Log, Stream  # noqa: F401


class TensorRtStream(Stream):
    """A step as a TensorRT engine."""

    backend = "tensorrt"

    def __init__(self, model: ModelFile, batch: int = 1, log: Log | None = None) -> None:
        """Refuse."""
        raise PallasError("no NVIDIA GPU")

    @property
    def _input_buffers(self) -> dict[str, F32]:
        raise NotImplementedError

    def _run(self) -> dict[str, F32]:
        raise NotImplementedError

    def reset(self) -> None:
        """Refuse."""
        raise NotImplementedError
