"""Size, time and accuracy of PALLAS with 8-bit weights. Each variant is timed alternately with the
released one.

python benchmarks/small_weights.py
"""

import argparse
import dataclasses
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

from pallas_ros.bench.rows import time_each
from pallas_ros.bench.speed import WARM_UP, stepper
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.virtual import VirtualSensors
from pallas_ros.pipeline import PipelineSettings
from pallas_ros.runtime.estimator import BodyEstimator
from pallas_ros.runtime.model_file import ModelFile
from pallas_ros.runtime.onnxruntime_backend import OnnxRuntimeStream

ROUNDS = 10
_OTHER_WORK_BYTES = 8 << 20
"""Bytes read between two steps for the second figure, which simulates other work and evicts the
weights from the second-level cache.
"""


def plain_products(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Convert ``Gemm`` to ``MatMul`` and ``Add``, which the quantisers support."""
    nodes = []
    for node in graph.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        a, b, *c = node.input
        product = f"{node.output[0]}_product" if c else node.output[0]
        nodes.append(
            onnx.helper.make_node("MatMul", [a, b], [product], name=f"{node.name}_product")
        )
        if c:
            nodes.append(
                onnx.helper.make_node(
                    "Add", [product, c[0]], [node.output[0]], name=f"{node.name}_sum"
                )
            )
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def weights_of(graph: onnx.ModelProto, least: int) -> list[str]:
    """Return the names of products with at least this number of weights."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type == "MatMul" and sizes.get(node.input[1], 0) >= least
    ]


def dynamic(least: int) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """Quantise to 8-bit weights with one scale per column; activations are quantised to 8 bits per
    frame.
    """

    def quantise(graph: onnx.ModelProto) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.onnx"
            small = Path(folder) / "small.onnx"
            onnx.save(graph, plain)
            only = weights_of(graph, least)
            quantize_dynamic(
                plain, small, nodes_to_quantize=only, per_channel=True, weight_type=QuantType.QInt8
            )
            quantised: onnx.ModelProto = onnx.load(small)
            return quantised

    return quantise


def weight_only(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise weights to 8 bits in blocks of 32, with floating-point arithmetic."""
    quantizer = MatMulNBitsQuantizer(
        graph, algo_config=DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, bits=8)
    )
    quantizer.process()
    blocks: onnx.ModelProto = quantizer.model.model
    return blocks


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights in 16 bits and convert them to 32 bits on use."""
    casts = []
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) > 1000:
            name = tensor.name
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_half"))
            casts.append(
                onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


VARIANTS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "float": lambda graph: graph,
    "Gemm as MatMul and Add": plain_products,
    "int8, all weights": lambda graph: dynamic(0)(plain_products(graph)),
    "int8, the large weights": lambda graph: dynamic(30_000)(plain_products(graph)),
    "8-bit blocks, float arithmetic": lambda graph: weight_only(plain_products(graph)),
    "half, cast in the graph": half,
}


def frames(seconds: float) -> list[ImuFrame]:
    """Return synchronised frames of the demonstration motion with sensor noise."""
    pipeline = PipelineSettings(backend="onnxruntime").pipeline()
    found = list[ImuFrame]()

    def take(frame: ImuFrame) -> bool:
        found.append(frame)
        return False

    pipeline.admit = take
    for site, sample in VirtualSensors(seed=1).samples(demo_motion(seconds)):
        pipeline.push(site, sample)
    return found


def main() -> None:
    """Print a line per variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=3000, help="timed, a variant (default: 3000)")
    args = parser.parse_args()
    logging.disable()  # the quantisers tell every operation
    model = ModelFile.load(resource("models/pallas.onnx"))
    streams = {}
    for name, change in VARIANTS.items():
        data = change(onnx.load_from_string(model.data)).SerializeToString()
        streams[name] = OnnxRuntimeStream(dataclasses.replace(model, data=data)), len(data)
    motion = frames(20.0)
    bodies = {}
    for name, (stream, _) in streams.items():
        stream.warm_up(WARM_UP)
        estimator = BodyEstimator(stream, Skeleton.from_height())
        bodies[name] = np.array(
            [(body := estimator.step(frame)).positions - body.positions[0] for frame in motion]
        )
    steps = {name: stepper(stream) for name, (stream, _) in streams.items()}
    taken: dict[str, list[np.ndarray]] = {name: [] for name in steps}
    cold: dict[str, list[np.ndarray]] = {name: [] for name in steps}
    elsewhere = np.ones(_OTHER_WORK_BYTES // 8)
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step(), step()
            taken[name].append(time_each(step, range(args.frames // ROUNDS)))
            for _ in range(args.frames // ROUNDS // 10):
                elsewhere.sum()
                cold[name].append(time_each(step, range(1)))
    own, own_cold = (float(np.median(np.concatenate(times["float"]))) for times in (taken, cold))
    for name, (_, size) in streams.items():
        ms = np.concatenate(taken[name])
        ms_cold = np.concatenate(cold[name])
        off = 1e3 * np.linalg.norm(bodies[name] - bodies["float"], axis=2)
        print(
            f"{name:<32} {size / 1e6:5.1f} MB  p50 {np.median(ms):.3f} ms"
            f" ({np.median(ms) / own:.2f} x)  p99 {np.percentile(ms, 99):.3f} ms  after other work"
            f" {np.median(ms_cold):.3f} ms ({np.median(ms_cold) / own_cold:.2f} x)  off by"
            f" {off.mean():.2f} mm in the mean, {np.percentile(off, 99):.2f} (99 %),"
            f" {off.max():.2f} at most"
        )


if __name__ == "__main__":
    main()
