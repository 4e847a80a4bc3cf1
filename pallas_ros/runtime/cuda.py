"""The CUDA driver functions needed by the TensorRT backend, called through ``ctypes``.

The driver library is part of every NVIDIA GPU installation, on a Jetson as on a server, so nothing
else needs to be installed and no toolkit version has to match. Never executed on a GPU by its
authors; see ``docs/evidence/performance.md``.
"""

import ctypes
from collections.abc import Callable, Iterable
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

# CUDA driver API, cuda.h
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_ulonglong,),
    "cuMemHostAlloc": (c_void_p, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemsetD8Async": (c_ulonglong, ctypes.c_ubyte, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_ulonglong, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_ulonglong, c_size_t, c_void_p),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, c_void_p),
    "cuGraphInstantiateWithFlags": (c_void_p, c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
}
_STREAM_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76


class Cuda:
    """One GPU: its primary context and a stream.

    Attributes:
        name: the GPU's product name.
        capability: its compute capability, e.g. ``"8.6"``.
        stream: stream handle for TensorRT.
    """

    def __init__(self, device: int = 0) -> None:
        """Open a GPU.

        Raises:
            PallasError: there is no driver or no such GPU.
        """
        try:
            self._library: Any = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise PallasError(
                "no NVIDIA GPU (the driver's libcuda.so.1 is not installed)"
            ) from None
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, name).argtypes = arguments
        count = c_int()
        handle = c_int()
        context = c_void_p()
        stream = c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGetCount", byref(count))
        if not 0 <= device < count.value:
            raise PallasError(f"no NVIDIA GPU number {device}: {count.value} found")
        self._call("cuDeviceGet", byref(handle), device)
        self._call("cuDevicePrimaryCtxRetain", byref(context), handle)
        self._context = context
        self.make_current()
        text = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", text, len(text), handle)
        self.name = text.value.decode(errors="replace")
        major = c_int()
        minor = c_int()
        self._call("cuDeviceGetAttribute", byref(major), _CAPABILITY_MAJOR, handle)
        self._call("cuDeviceGetAttribute", byref(minor), _CAPABILITY_MINOR, handle)
        self.capability = f"{major.value}.{minor.value}"
        self._call("cuStreamCreate", byref(stream), _STREAM_NON_BLOCKING)
        self.stream = int(stream.value or 0)

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise PallasError(
                f"the NVIDIA driver refused {function} (CUDA error {status}): use the onnxruntime"
                " backend"
            )

    def make_current(self) -> None:
        """Bind the context to the calling thread.

        This is cheap, and required if an executor changes threads.
        """
        self._call("cuCtxSetCurrent", self._context)

    def device_buffer(self, size: int) -> int:
        """Allocate ``size`` bytes on the GPU and return the address."""
        address = c_ulonglong()
        self._call("cuMemAlloc_v2", byref(address), size)
        return address.value

    def pinned_array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return float32 zeros of this ``shape`` (...) in page-locked memory, which the GPU
        accesses without a staging copy.
        """
        size = int(np.prod(shape))
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), size * 4, 0)
        array = np.ctypeslib.as_array(
            ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(size,)
        )
        array[...] = 0.0
        return array.reshape(shape)

    def release(self, device: Iterable[int], pinned: Iterable[int]) -> None:
        """Free buffers by address."""
        self.make_current()
        for address in device:
            self._call("cuMemFree_v2", address)
        for address in pinned:
            self._call("cuMemFreeHost", address)

    def clear(self, address: int, size: int) -> None:
        """Enqueue zeroing of ``size`` bytes."""
        self._call("cuMemsetD8Async", address, 0, size, self.stream)

    def upload(self, address: int, array: NDArray[np.float32]) -> None:
        """Enqueue a copy of a pinned array (any shape) to the GPU."""
        self._call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.stream)

    def download(self, array: NDArray[np.float32], address: int) -> None:
        """Enqueue a copy from the GPU into a pinned array (any shape)."""
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self.stream)

    def synchronize(self) -> None:
        """Wait for all enqueued work."""
        self._call("cuStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> int:
        """Capture the operations enqueued by ``work`` as a CUDA graph, without running them.

        Returns:
            A handle for ``launch``.
        """
        graph = c_void_p()
        executable = c_void_p()
        self._call("cuStreamBeginCapture_v2", self.stream, _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:  # a stream left in capture mode would be unusable
            self._call("cuStreamEndCapture", self.stream, byref(graph))
        self._call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        return int(executable.value or 0)

    def launch(self, graph: int) -> None:
        """Enqueue a captured graph: one call for the whole step."""
        self._call("cuGraphLaunch", graph, self.stream)
