"""Streaming inference: a model is opened once and fed one frame at a time; its state lives here,
outside the graph.

``open_stream`` gives a ``Stream``; three backends stand behind it (ONNX Runtime, the default;
TensorRT where there is an NVIDIA GPU; torch, the reference).
"""

from pallas_ros.runtime.base import Stream
from pallas_ros.runtime.stream import BACKENDS, open_stream

__all__ = ["BACKENDS", "Stream", "open_stream"]
