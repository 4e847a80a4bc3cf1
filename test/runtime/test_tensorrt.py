"""TensorRT without a GPU: engines are really built ahead of time; the stream's logic runs on a
simulated device with host memory.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import engine as engines
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.cuda import Cuda
from pallas_ros.runtime.model_file import ModelFile
from pallas_ros.runtime.tensorrt_backend import TensorRtStream

MODELS = Path(__file__).parents[2] / "models"
RELEASED = sorted(path for path in MODELS.glob("*.onnx"))


def rtx() -> None:
    """Skip if TensorRT cannot build ahead of time."""
    try:
        if not hasattr(engines.tensorrt(), "ComputeCapability"):
            pytest.skip("this TensorRT cannot build ahead of time")
    except PallasError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("capability", ["8.6", "12.0"])
@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_released_models_compile(path: Path, capability: str) -> None:
    rtx()
    assert len(engines.build_engine(ModelFile.load(path), capability=capability)) > 100_000


@pytest.mark.parametrize("batch", [1, 16])
def test_small_model_compiles_for_a_batch(small_model: Path, batch: int) -> None:
    rtx()
    assert engines.build_engine(ModelFile.load(small_model), batch, capability="8.6")


@pytest.mark.parametrize("settings", [{"precision": "int4"}, {"capability": "1.0"}, {"batch": 40}])
def test_wrong_settings_are_refused(small_model: Path, settings: dict[str, Any]) -> None:
    rtx()
    with pytest.raises(PallasError):
        engines.build_engine(ModelFile.load(small_model), **({"capability": "8.6"} | settings))


def floats(address: int, size: int) -> np.ndarray:
    """Return the memory at an address as floats."""
    return np.ctypeslib.as_array(
        ctypes.cast(address, ctypes.POINTER(ctypes.c_ubyte)), shape=(size,)
    )


class SimulatedGpu(Cuda):
    """A device with host memory whose stream executes immediately or, during graph capture, only
    records.
    """

    def __init__(self) -> None:
        self.name = "Simulated GPU/1"
        self.capability = "8.6"
        self.stream = 1
        self.memory: dict[int, np.ndarray] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: list[list[Callable[[], None]]] = []
        self.uploaded = self.downloaded = 0

    def do(self, work: Callable[[], None]) -> None:
        work() if self.recording is None else self.recording.append(work)

    def make_current(self) -> None:
        pass

    def synchronize(self) -> None:
        assert self.recording is None, "a wait inside a capture is an error on a GPU"

    def device_buffer(self, size: int) -> int:
        buffer = np.full(size, 0xFF, np.uint8)  # NaN: memory from the driver is not zero
        self.memory[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    def pinned_array(self, shape: tuple[int, ...]) -> np.ndarray:
        array = np.zeros(shape, np.float32)
        self.memory[array.ctypes.data] = array
        return array

    def release(self, device: Any, pinned: Any) -> None:
        for address in (*device, *pinned):
            del self.memory[address]

    def clear(self, address: int, size: int) -> None:
        assert size == self.memory[address].nbytes
        self.do(lambda: self.memory[address].fill(0))

    def upload(self, address: int, array: np.ndarray) -> None:
        def copy() -> None:
            self.uploaded += array.nbytes
            floats(address, array.nbytes)[:] = floats(array.ctypes.data, array.nbytes)

        self.do(copy)

    def download(self, array: np.ndarray, address: int) -> None:
        def copy() -> None:
            self.downloaded += array.nbytes
            floats(array.ctypes.data, array.nbytes)[:] = floats(address, array.nbytes)

        self.do(copy)

    def capture(self, work: Callable[[], None]) -> int:
        self.recording = []
        work()
        self.graphs.append(self.recording)
        self.recording = None
        return len(self.graphs)

    def launch(self, graph: int) -> None:
        for work in self.graphs[graph - 1]:
            work()


class SimulatedEngine:
    """Runs the model with ONNX Runtime on the given addresses; execution context and engine in
    one.
    """

    def __init__(self, data: bytes, gpu: SimulatedGpu, batch: int) -> None:
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.gpu = gpu
        self.batch = batch
        self.addresses = dict[str, int]()

    def create_execution_context(self) -> "SimulatedEngine":
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.gpu.stream
        addresses = dict(self.addresses)

        def run() -> None:
            binding = self.session.io_binding()
            for tensors, bind in (
                (self.session.get_inputs(), binding.bind_input),
                (self.session.get_outputs(), binding.bind_output),
            ):
                for tensor in tensors:
                    bind(
                        tensor.name,
                        "cpu",
                        0,
                        np.float32,
                        (self.batch, *tensor.shape[1:]),
                        addresses[tensor.name],
                    )
            self.session.run_with_iobinding(binding)

        self.gpu.do(run)
        return True


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedGpu:
    """A simulated GPU with a separate cache folder; its engines are the model's bytes."""
    device = SimulatedGpu()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        engines, "build_engine", lambda model, batch, precision: bytes([batch]) + model.data
    )
    monkeypatch.setattr(
        engines,
        "deserialize",
        lambda data: None if data == b"damaged" else SimulatedEngine(data[1:], device, data[0]),
    )
    return device


@pytest.mark.parametrize("batch", [1, 3])
def test_state_stays_on_the_device_and_the_numbers_agree(
    small_model: Path, gpu: SimulatedGpu, batch: int
) -> None:
    rtx()
    stream = TensorRtStream(ModelFile.load(small_model), batch, cuda=gpu, log=lambda _: None)
    reference = open_stream(small_model, "onnxruntime", batch)
    frames = np.random.default_rng(1).normal(size=(90, batch, 12)).astype(np.float32)
    gpu.uploaded = gpu.downloaded = 0
    for frame in frames:
        np.testing.assert_allclose(
            stream.step({"imu": frame})["pose"], reference.step({"imu": frame})["pose"], atol=1e-5
        )
    assert gpu.uploaded == frames.nbytes
    assert gpu.downloaded == len(frames) * batch * (6 + 1) * 4
    assert len(gpu.graphs) == 2
    stream.reset(), reference.reset()
    np.testing.assert_allclose(
        stream.step({"imu": frames[0]})["pose"],
        reference.step({"imu": frames[0]})["pose"],
        atol=1e-5,
    )


def test_memory_is_given_back(small_model: Path, gpu: SimulatedGpu) -> None:
    rtx()
    stream = TensorRtStream(ModelFile.load(small_model), cuda=gpu, log=lambda _: None)
    assert (
        len(gpu.memory) == 2 * 3 + 2 * 3
    )  # three tensors of data on both sides, three states twice
    del stream
    assert gpu.memory == {}


def test_engine_is_built_once_and_again_when_anything_differs(
    small_model: Path, gpu: SimulatedGpu
) -> None:
    rtx()
    model = ModelFile.load(small_model)
    lines = list[str]()

    def builds(**settings: Any) -> int:
        lines.clear()
        TensorRtStream(model, **settings, cuda=gpu, log=lines.append)
        return sum("building" in line for line in lines)

    assert [builds(), builds()] == [1, 0]
    assert [builds(batch=2), builds(precision="tf32"), builds()] == [1, 1, 0]
    gpu.name = "Another GPU"
    assert [builds(), builds()] == [1, 0]
    kept = engines.engine_path(model, gpu, 1, "fp32")
    assert {path.suffix for path in kept.parent.iterdir()} == {".engine"}
    kept.write_bytes(b"damaged")
    assert [builds(), builds()] == [1, 0]


def test_no_gpu_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(PallasError, match="no NVIDIA GPU"):
        Cuda()
