"""Training in two processes, as ``torchrun`` starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

WORK = """
import json, sys, time
from pathlib import Path
import torch
from torch import nn
from pallas_ros.train import loop, processes

folder = Path(sys.argv[1])
rank = processes.start()
usual = time.monotonic
if rank == 1:  # its clock would end the second run far earlier
    loop.time = type("Fast", (), {"monotonic": staticmethod(lambda: 20 * usual())})
torch.set_num_threads(1)
torch.manual_seed(rank)
drawn = []

def train(name, **settings):
    generator = torch.Generator().manual_seed(100 + rank)

    def batches():
        while True:
            drawn.append(torch.rand(1, generator=generator).item())
            yield torch.full((1, 4), drawn[-1])

    def loss(model, batch):
        time.sleep(0.005)
        return (model(batch) - 1).square().mean(), {}

    model = nn.Linear(4, 1)
    made = loop.fit(
        model,
        batches(),
        loss,
        loop.LoopSettings(warm_up=1, validate_every=2, **settings),
        folder / name,
        lambda m: {"measured": 1.0},
        generator,
    )
    seen = {"drawn": drawn[:], "weights": made.weight.flatten().tolist()}
    drawn.clear()
    return seen

out = {
    "half": train("run", steps=4),
    "resumed": train("run", steps=8),
    "whole": train("other", steps=8),
    "timed": train("timed", steps=10000, minutes=0.002),
}
(folder / f"{rank}.json").write_text(json.dumps(out))
"""


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Regression: both wrote the checkpoint, drew equal batches after a resume, and stopped at
    different steps.
    """
    at = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path)],
            env={**os.environ, **at, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [one.communicate(timeout=120)[1] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], said
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for name in ("half", "resumed", "whole", "timed"):
        assert first[name]["weights"] == second[name]["weights"]
        assert len(first[name]["drawn"]) == len(second[name]["drawn"])
        assert not set(first[name]["drawn"]) & set(second[name]["drawn"])
    for one in (first, second):
        assert one["half"]["drawn"] + one["resumed"]["drawn"] == one["whole"]["drawn"]
    rows = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 4, 6, 8]
