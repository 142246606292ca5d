"""Two processes against one: the same batches, the same weights, one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import QUIET, Balls, weights

from vrnlib.checkpoint import read_log
from vrnlib.train import TrainParams, train


def run(out: Path, faces: int, kind: str, accumulate: int) -> None:
    params = TrainParams.of("smoke", **QUIET, max_faces=faces, kind=kind, accumulate=accumulate)
    train(params, out, dataset=Balls(32, 34, 0), validation=Balls(32, 34, 99), say=print)


def in_two_processes(out: Path, faces: int, kind: str) -> str:
    """This file as a program, started as anyone would start it on a cluster."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, __file__, str(out), str(faces), kind]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")} | {
        "OMP_NUM_THREADS": "1"
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_equal_one_that_takes_the_batch_in_two_pieces(tmp_path: Path) -> None:
    said = in_two_processes(tmp_path / "two", 12, "guided")
    run(tmp_path / "one", 12, "guided", accumulate=2)
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    trained = [name for name in one if "running" not in name and "num_batches" not in name]
    assert len(trained) > 100
    for name in trained:
        assert torch.equal(two[name], one[name]), name
    # the loss that is logged is the mean over both; only the first process speaks and writes
    logs = [
        [r for r in read_log(tmp_path / n / "log.jsonl") if r["event"] == "train"] for n in ("two", "one")
    ]
    assert [r["step"] for r in logs[0]] == [r["step"] for r in logs[1]] == [3]
    assert logs[0][0]["loss"] == pytest.approx(logs[1][0]["loss"], rel=1e-6)
    assert said.count("2 processes") == 1 and said.count("finished after 12 faces") == 1
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert (metrics["processes"], metrics["faces"], metrics["step"]) == (2, 12, 3)
    # a run may go on with another number of processes
    run(tmp_path / "two", 20, "guided", accumulate=2)
    run(tmp_path / "one", 20, "guided", accumulate=2)
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert all(torch.equal(two[name], one[name]) for name in trained)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], accumulate=1)
