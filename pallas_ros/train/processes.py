"""Processes of ``torchrun`` that train one model together; every function works for one process.

The first process (rank 0) decides when to stop, measures and writes; all draw their own batches.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from pallas_ros.body.errors import PallasError


def start() -> int:
    """Join the processes of ``torchrun``; return the rank (0 for a single process)."""
    if count() > 1 and not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return rank()


def count() -> int:
    """The number of processes that ``torchrun`` started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_joined() -> None:
    """Check that no process of ``torchrun`` trains alone.

    Raises:
        PallasError: this training does not join the processes.
    """
    if count() > 1 and not distributed.is_initialized():
        raise PallasError(
            "this model cannot be trained by several processes: start it without torchrun"
        )


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def average(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their mean over the processes."""
    if not distributed.is_initialized():
        return
    for tensor in tensors:
        distributed.all_reduce(tensor)  # gloo cannot average
        tensor /= distributed.get_world_size()


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if distributed.is_initialized():
        for tensor in tensors:
            distributed.broadcast(tensor.data, 0)


def broadcast_value(value: float) -> float:
    """The value of the first process."""
    if not distributed.is_initialized():
        return value
    values = [value]
    distributed.broadcast_object_list(values, 0)
    return values[0]


def all_gather(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, by rank."""
    if not distributed.is_initialized():
        return [tensor]
    tensors = [tensor] * distributed.get_world_size()
    distributed.all_gather_object(tensors, tensor)
    return tensors
