"""Shards: the same bytes from any number of workers, whole after a kill, read back exactly, errors named."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from vrnlib import batches, provenance
from vrnlib.commands.data import write
from vrnlib.databases import SynthLP
from vrnlib.databases.shards import Shards, decode, encode, write_shards
from vrnlib.errors import VrnError
from vrnlib.runs import runs_of


class Balls:
    """Stand-in for faces: quick to draw, any size, each a function of its number."""

    def __init__(self, size: int = 16, depth: int = 18) -> None:
        self.size, self.depth = size, depth

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(index)
        rows, columns, depths = np.ogrid[: self.size, : self.size, : self.depth]
        y, x = rng.uniform(4, self.size - 4, 2)
        ball = ((rows - y) ** 2 + (columns - x) ** 2 + ((depths - self.depth / 2) / 2) ** 2 < 12).astype(
            np.uint8
        )
        return {
            "image": rng.integers(0, 256, (self.size, self.size, 3)).astype(np.uint8),
            "volume": ball.transpose(2, 0, 1),
            "landmarks": rng.normal(8, 5, (68, 2)).astype(np.float32),
            "pose": rng.normal(0, 1, 3).astype(np.float32),
        }


RECIPE = {"database": "balls", "size": 16, "depth": 18}


def quiet(_: str) -> None:
    pass


def written(folder: Path, count: int = 10, per_shard: int = 4, **options: Any) -> Path:
    write_shards(Balls(), count, folder, RECIPE, per_shard=per_shard, say=quiet, **options)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for workers, folder in enumerate(folders, start=1):
        data = SynthLP(32, 34, seed=1)
        write_shards(data, 5, folder, RECIPE, per_shard=2, workers=workers, say=quiet)
    one, two = map(contents, folders)
    assert list(one) == ["index.json", "recipe.json", *(f"shard-00000{i}.tar" for i in range(3))]
    assert one == two


@pytest.mark.parametrize("truth", [False, True])
def test_reader_gives_the_very_samples(tmp_path, truth):
    data = SynthLP(32, 34, seed=3, truth=truth)
    write_shards(data, 5, tmp_path, {"size": 32, "depth": 34}, per_shard=2, say=quiet)
    back = Shards(tmp_path, size=32, depth=34)
    assert len(back) == 5
    for i, sample in enumerate(back):
        plain = data[i]
        assert sample.keys() == plain.keys()
        for name, value in plain.items():
            assert sample[name].dtype == value.dtype and np.array_equal(sample[name], value), name
        assert np.array_equal(sample["volume"].strides, plain["volume"].strides)
    assert np.array_equal(back[5]["image"], data[0]["image"])  # numbers past the end begin again
    back.verify()


def test_tar_is_plain_and_in_the_webdataset_layout(tmp_path):
    path = written(tmp_path) / "shard-000001.tar"
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert [m.name for m in members[:3]] == ["000000004.png", "000000004.npz", "000000004.json"]
        assert {m.name.split(".")[0] for m in members} == {f"{i:09d}" for i in range(4, 8)}
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
            (0, 0, 0, "", "", 0o644)
        }
        facts = json.load(tar.extractfile("000000005.json"))
        with np.load(io.BytesIO(tar.extractfile("000000005.npz").read()), allow_pickle=False) as file:
            arrays = [file[name] for name in ("column", "begin", "end")]
    expected = runs_of(Balls()[5]["volume"])
    assert all(np.array_equal(a, b) for a, b in zip(arrays, expected, strict=True))
    assert np.array_equal(np.float32(facts["landmarks"]), Balls()[5]["landmarks"])
    assert (facts["size"], facts["depth"]) == (16, 18)


def test_webdataset_reads_them(tmp_path):
    wds = pytest.importorskip("webdataset")
    written(tmp_path)
    read = wds.WebDataset(str(tmp_path / "shard-{000000..000002}.tar"), shardshuffle=False).decode("rgb8")
    keys = []
    for sample in read:
        keys.append(sample["__key__"])
        assert np.array_equal(sample["png"], Balls()[int(sample["__key__"])]["image"])
    assert keys == [f"{i:09d}" for i in range(10)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("runs", [False, True])
def test_training_batches_are_those_of_the_database(tmp_path, workers, runs):
    data = Shards(written(tmp_path), runs=runs)
    data[3]  # the parent has a shard open before the workers fork
    got = next(batches.endless(data, 0, 0, 8, workers))
    numbers = next(iter(batches.Order(0, 0, 8)))
    expected = batches.pack([Balls()[n % 10] for n in numbers])
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_finished_shards_are_kept_and_damaged_ones_written_again(tmp_path):
    whole = contents(written(tmp_path))
    kept = tmp_path / "shard-000000.tar"
    before = kept.stat().st_mtime_ns
    (tmp_path / "shard-000001.tar").write_bytes(whole["shard-000001.tar"][:3000])
    (tmp_path / "shard-000002.tar").unlink()
    (tmp_path / "index.json").unlink()
    (tmp_path / ".shard-000002.abc.tmp.tar").write_bytes(b"left by a killed writer")
    written(tmp_path)
    assert contents(tmp_path) == whole
    assert kept.stat().st_mtime_ns == before


SCRIPT = """
import os, signal, sys, time
import numpy as np
from vrnlib.databases.shards import write_shards
from vrnlib.errors import VrnError

class Slow:
    def __init__(self, deadly):
        self.deadly = deadly

    def __getitem__(self, index):
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        image = np.random.default_rng(index).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        volume = (image[..., :1] > image[..., 1:2]).astype(np.uint8).repeat(10, 2).transpose(2, 0, 1)
        return {"image": image, "volume": volume, "landmarks": np.zeros((68, 2)), "pose": np.zeros(3)}

if __name__ == "__main__":
    folder, workers, deadly = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        write_shards(Slow(deadly), 40, folder, {}, per_shard=4, workers=workers)
    except VrnError as error:
        sys.exit(str(error))
"""


@pytest.fixture
def script(tmp_path: Path) -> list[Any]:
    """A program that writes 40 slow samples: arguments folder, workers, the sample that kills (-1: none)."""
    (tmp_path / "program.py").write_text(SCRIPT)
    return [sys.executable, tmp_path / "program.py"]


def test_killed_at_once_it_goes_on_and_leaves_no_process_behind(tmp_path, script):
    folder = tmp_path / "shards"
    process = subprocess.Popen([*script, folder, "2", "-1"])
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("shard-*.tar")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [int(p) for p in children.read_text().split()] if children.exists() else []
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20  # a worker finishes the shard it is at, then finds itself an orphan
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    left = len(list(folder.glob("shard-*.tar")))
    assert 0 < left < 10 and not (folder / "index.json").exists()
    with pytest.raises(VrnError, match="not finished"):
        Shards(folder)
    again = subprocess.run([*script, folder, "1", "-1"], capture_output=True, text=True, check=True)
    assert f"{left} of 10 shards are there already" in again.stdout
    subprocess.run([*script, tmp_path / "straight", "1", "-1"], capture_output=True, check=True)
    assert contents(folder) == contents(tmp_path / "straight")


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_another_recipe_is_refused_and_named(tmp_path):
    written(tmp_path)
    with pytest.raises(VrnError, match="another recipe .*seed None there, 1 now"):
        write_shards(Balls(), 10, tmp_path, {**RECIPE, "seed": 1}, per_shard=4, say=quiet)
    with pytest.raises(VrnError, match="per_shard 4 there, 5 now"):
        written(tmp_path, per_shard=5)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(VrnError, match=r"without a recipe\.json"):
        written(tmp_path)


def test_no_room_is_said_before_and_while_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 5000, 5000))
        with pytest.raises(VrnError, match="GiB are free: make room"):
            written(tmp_path)
    assert not list(tmp_path.glob("*.tar"))

    added = tarfile.TarFile.addfile

    def full(self, entry, *rest):
        if entry.name.startswith("000000006"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        added(self, entry, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(VrnError, match=r"shard-000001\.tar: No space left on device; make room"):
            written(tmp_path)
    assert sorted(contents(tmp_path)) == ["recipe.json", "shard-000000.tar"]
    written(tmp_path)
    assert contents(tmp_path) == contents(written(tmp_path / "straight"))


def test_a_worker_that_dies_is_one_clear_error(tmp_path, script):
    done = subprocess.run(
        [*script, tmp_path / "shards", "2", "7"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "a worker writing" in done.stderr and "was killed" in done.stderr


class Wrong:
    """One sample, the same under every number."""

    def __init__(self, **changes: Any) -> None:
        self.sample = {k: v for k, v in {**Balls()[0], **changes}.items() if v is not None}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume": np.zeros((18, 15, 16), np.uint8)}, "differ in size"),
        ({"image": np.zeros((16, 12, 3), np.uint8)}, "an image is"),
        ({"image": np.zeros((16, 16, 3), np.float32)}, "float32"),
        ({"volume": None}, "it has no volume"),
        ({"landmarks": None, "pose": None}, "no landmarks, pose"),
    ],
)
def test_bad_samples_are_named(tmp_path, changes, message):
    with pytest.raises(VrnError, match=message):
        write_shards(Wrong(**changes), 1, tmp_path, RECIPE, say=quiet)


def test_reader_names_what_is_wrong(tmp_path):
    folder = written(tmp_path / "shards")
    with pytest.raises(VrnError, match="size 16, not 32"):
        Shards(folder, size=32)
    with pytest.raises(VrnError, match="no folder of shards"):
        Shards(tmp_path)
    path = folder / "shard-000001.tar"
    good = path.read_bytes()
    path.write_bytes(good[:-1024])
    with pytest.raises(VrnError, match=r"shard-000001\.tar is missing or cut short"):
        Shards(folder)
    spoilt = bytearray(good)
    spoilt[512 + 100 : 512 + 200] = bytes(100)  # inside the first picture
    path.write_bytes(spoilt)
    with pytest.raises(VrnError, match=r"shard-000001\.tar changed"):
        Shards(folder).verify()
    at = good.index(b'{"size"')
    spoilt = bytearray(good)
    spoilt[at : at + 10] = b"x" * 10
    path.write_bytes(spoilt)
    with pytest.raises(VrnError, match="sample 000000004 .* is damaged"):
        Shards(folder)[4]
    path.write_bytes(good)
    index = provenance.read_json(folder / "index.json")
    index["recipe"]["format"] = "vrn-shards-0"
    provenance.write_json(folder / "index.json", index)
    with pytest.raises(VrnError, match="format vrn-shards-0"):
        Shards(folder)


def members() -> dict[str, bytes]:
    """The members of a sample by their endings."""
    return {name.rsplit(".")[-1]: content for name, content in encode(Balls()[0], 0)}


@pytest.mark.parametrize("kind", ["png", "npz", "json"])
def test_any_damaged_byte_of_a_member_is_an_error_or_harmless(kind):
    good, refused = members(), 0
    for at in range(0, len(good[kind]), 3):
        spoilt = bytearray(good[kind])
        spoilt[at] ^= 0xFF
        try:
            decode({**good, kind: bytes(spoilt)}, "sample 0")
        except VrnError:
            refused += 1
    assert refused > len(good[kind]) / 6
    with pytest.raises(VrnError, match="sample 0 is damaged") as caught:
        decode({**good, kind: b""}, "sample 0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runs", [False, True])
def test_runs_outside_the_volume_are_refused(runs):
    # they would be written beyond the end of the memory
    good = members()
    for facts, message in (
        ({"depth": 4}, "runs outside the volume"),
        ({"size": 8}, "no image of 8 x 8"),
        ({"size": 10**9}, "no image"),
    ):
        changed = json.dumps({**json.loads(good["json"]), **facts}).encode()
        with pytest.raises(VrnError, match=message):
            decode({**good, "json": changed}, "sample 0", runs)
    column, begin, end = runs_of(Balls()[0]["volume"])
    for parts, message in (
        ((column - 10**6, begin, end), "runs outside"),
        ((column, begin[1:], end), "different lengths"),
        ((column, begin.astype("U8"), end), "not whole numbers"),
    ):
        packed = io.BytesIO()
        np.savez(packed, **dict(zip(("column", "begin", "end"), parts, strict=True)))
        with pytest.raises(VrnError, match=message):
            decode({**good, "npz": packed.getvalue()}, "sample 0", runs)


@pytest.mark.parametrize("name", ["count", "per_shard", "workers"])
def test_numbers_must_be_positive(tmp_path, name):
    options = {"count": 4, "per_shard": 2, "workers": 1, name: 0}
    with pytest.raises(VrnError, match=f"{name} is 0"):
        write_shards(Balls(), options.pop("count"), tmp_path, RECIPE, say=quiet, **options)


def test_runs_in_place_of_a_dense_volume_give_the_same_bytes():
    dense = Balls()[2]
    runs = {**dense, "runs": runs_of(dense["volume"]), "depth": 18}
    del runs["volume"]
    assert encode(runs, 2) == encode(dense, 2)


def test_command(tmp_path):
    app = typer.Typer()
    app.command()(write)
    words = [
        "--shards",
        str(tmp_path),
        "--samples",
        "3",
        "--profile",
        "smoke",
        "--per-shard",
        "2",
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "3 samples in 2 shards" in result.output
    assert np.array_equal(Shards(tmp_path)[2]["image"], SynthLP(32, 34)[2]["image"])
    with pytest.raises(VrnError, match="did you mean 'synth-lp'"):
        CliRunner().invoke(app, [*words, "--database", "synth-pl"], catch_exceptions=False)
