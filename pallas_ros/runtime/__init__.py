"""Streaming inference: a model is opened once and processes one frame at a time.

Its state is kept here, outside the model graph. ``open_stream`` returns a ``Stream`` with one of
three backends: ONNX Runtime (default), TensorRT (NVIDIA GPUs) or torch (reference).
"""

from pallas_ros.runtime.base import Stream
from pallas_ros.runtime.batched import BatchedStream
from pallas_ros.runtime.stream import BACKENDS, open_stream
from pallas_ros.runtime.tensors import Sizes, check_tensors

__all__ = ["BACKENDS", "BatchedStream", "Sizes", "Stream", "check_tensors", "open_stream"]
