"""Lower bound of a step's duration on this machine: every weight is read once and used once.

Run as a module it measures the machine and prints JSON; this is done in a separate process, so that
the BLAS library uses one thread.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from pallas_ros.body.errors import PallasError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def best(work: Callable[[], object], seconds: float = 0.4) -> float:
    """Return the shortest duration in s of ``work``, repeated for ``seconds``."""
    shortest = np.inf
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - start)
    return float(shortest)


def measure(size: int) -> dict[str, float]:
    """Return read bandwidth (bytes/s) and peak arithmetic (operations/s) of one thread.

    The bandwidth is over ``size`` bytes that stay where weights would stay.
    """
    weights = np.ones((max(size // 4096, 1), 1024), np.float32)
    vector = np.ones(1024, np.float32)
    square = np.ones((768, 768), np.float32)
    out = np.empty_like(square)
    read = best(lambda: weights @ vector)
    multiply = best(lambda: np.matmul(square, square, out=out))
    return {
        "bytes_per_s": weights.nbytes / read,
        "operations_per_s": 2 * square.shape[0] ** 3 / multiply,
    }


def measured(size: int) -> dict[str, float]:
    """Run `measure` in a separate process.

    Raises:
        PallasError: that process failed.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(size)], env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise PallasError(
            f"the machine's speed could not be measured: {done.stderr.strip().splitlines()[-1:]}"
        )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
