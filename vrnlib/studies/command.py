"""``python -m vrnlib.studies guidance`` and so on: run a study's arms, summarise, draw, write."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from vrnlib.errors import VrnError
from vrnlib.provenance import collect, replacing, write_json
from vrnlib.score_meshes import write_rows
from vrnlib.studies import architecture, departures, guidance, guidance_report, one_by_one
from vrnlib.studies.arms import Run, finished, run_all, table_rows
from vrnlib.studies.small import Budget, Faces, Say

COLUMNS = ("arm", "seed", "test", "iou", "nme", "loss", "parameters", "seconds", "cpu_seconds")


class Study(NamedTuple):
    """What the command needs of a study.

    Attributes
    ----------
    arms : their names.
    trainer : budget, faces, working folder, say -> a function that trains one arm from one seed.
    summarise : budget, runs of each arm -> summary, with a ``conclusion`` in sentences.
    draw : summary -> matplotlib figure.
    budget : where it differs from the defaults of `Budget`.
    """

    arms: Sequence[str]
    trainer: Callable[[Budget, Faces, Path, Say], Callable[[str, int], Run]]
    summarise: Callable[[Budget, dict[str, list[Run]]], dict[str, Any]]
    draw: Callable[[dict[str, Any]], Any]
    budget: Mapping[str, Any] = MappingProxyType({})


def _train_guided(budget: Budget, faces: Faces, folder: Path, say: Say) -> Callable[[str, int], Run]:
    detectors = cache(lambda seed: guidance.train_detector(budget, faces, seed, folder, say))
    return partial(guidance.train_arm, budget, faces, detectors, say)


def _one_by_one(module: Any, **budget: Any) -> Study:
    def trainer(budget: Budget, faces: Faces, _: Path, say: Say) -> Callable[[str, int], Run]:
        return partial(module.train_arm, budget, faces, say)

    summarise = partial(one_by_one.summarise, module.LABELS)
    return Study(tuple(module.ARMS), trainer, summarise, one_by_one.draw, budget)


STUDIES = {
    "guidance": Study(tuple(guidance.ARMS), _train_guided, guidance_report.summarise, guidance_report.draw),
    "architecture": _one_by_one(architecture),
    "departures": _one_by_one(departures, **departures.LAPTOP),
}


def main(arguments: list[str] | None = None) -> int:
    """See the options below; what budget a result had stands in its file. Returns the exit code.

    Writes ``<study>.json`` (summary, budget, conclusion, provenance), ``.csv`` (a row an arm, seed and test
    condition) and ``.png``.
    """
    about = "Train the networks of a study, each from several seeds; the same command again goes on."
    parser = argparse.ArgumentParser(prog="python -m vrnlib.studies", description=about)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--out", type=Path, default=Path("results/studies"), help="folder for the results")
    parser.add_argument("--work", type=Path, default=Path("build/studies"), help="for drawn faces and runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="train nothing, summarise what is finished")
    for name, default in asdict(Budget()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default))
    given = vars(parser.parse_args(arguments))
    name, out, work, threads, only = (given.pop(k) for k in ("study", "out", "work", "threads", "summary"))
    torch.set_num_threads(threads)
    began = time.perf_counter()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {line}", flush=True)

    try:
        study, folder = STUDIES[name], work / name
        budget = Budget(**{**study.budget, **{k: v for k, v in given.items() if v is not None}})
        seeds = finished(study.arms, budget.seeds, folder) if only else budget.seeds
        if not seeds:
            raise VrnError(f"no seed of the study is finished in {folder}: leave out --summary")
        train = study.trainer(budget, Faces(budget, work / "faces"), folder, say)
        identity = {k: v for k, v in asdict(budget).items() if k != "seeds"}
        runs = run_all(study.arms, seeds, train, folder, identity, say)
        for line in write(name, budget, runs, out):
            print(line)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def write(name: str, budget: Budget, runs: dict[str, list[Run]], out: Path) -> list[str]:
    """Write the files of a study to the folder `out`; its conclusion."""
    summary = STUDIES[name].summarise(budget, runs)
    each = [run for repeated in runs.values() for run in repeated]
    spent = {key: sum(run[key] for run in each) for key in ("seconds", "cpu_seconds")}
    seeds = {"data": budget.data_seed, "test": budget.test_seed, "networks": summary["seeds"]}
    provenance = collect(budget, seeds, [], spent["seconds"])
    write_rows(out / f"{name}.csv", table_rows(runs), COLUMNS)
    content = {**summary, "training": spent, "budget": asdict(budget), "provenance": provenance}
    write_json(out / f"{name}.json", content)
    with replacing(out / f"{name}.png") as draft:
        STUDIES[name].draw(summary).savefig(draft, format="png", dpi=80)
    return summary["conclusion"]
