"""Packing of batches: exact, small, and without surprise."""

import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from vrnlib import batches
from vrnlib.errors import VrnError
from vrnlib.runs import runs_of


def sample(rng: np.random.Generator, size: int, depth: int, share: float = 0.5) -> dict[str, np.ndarray]:
    volume = (rng.random((size, size, depth)) < share).astype(np.uint8).transpose(2, 0, 1)
    return {"image": rng.integers(0, 256, (size, size, 3)).astype(np.uint8), "volume": volume}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("size", "depth"), [(8, 10), (7, 13), (16, 8)])
def test_packing_is_exact_for_any_volume(share, size, depth):
    rng = np.random.default_rng(0)
    samples = [sample(rng, size, depth, s) for s in (share, 0.3, share)]
    image, volume = batches.unpack(batches.pack(samples), depth)
    assert volume.dtype == torch.uint8 and volume.shape == (3, depth, size, size)
    assert volume.is_contiguous(memory_format=torch.channels_last)
    for i, one in enumerate(samples):
        assert np.array_equal(volume[i].numpy(), one["volume"])
        assert np.allclose(image[i].numpy() * 255, one["image"].transpose(2, 0, 1), atol=1e-4)


def test_runs_of_a_sample_are_taken_as_they_are():
    rng = np.random.default_rng(1)
    dense = [sample(rng, 12, 14) for _ in range(3)]
    runs = [{"image": s["image"], "runs": runs_of(s["volume"])} for s in dense]
    one, other = batches.pack(dense), batches.pack(runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_face_travels_as_a_small_part_of_its_bits():
    rows, columns, depths = np.ogrid[:48, :48, :50]
    ball = ((rows - 24) ** 2 + (columns - 24) ** 2 + ((depths - 25) / 2) ** 2 < 150).astype(np.uint8)
    face = {"image": np.zeros((48, 48, 3), np.uint8), "volume": ball.transpose(2, 0, 1)}
    batch = batches.pack([face] * 4)
    travels = sum(t.nbytes for name, t in batch.items() if name != "image")
    assert travels < 4 * ball.nbytes / 8 / 2


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_face_is_said_in_one_line(workers):
    class Damaged:
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index: int) -> dict[str, np.ndarray]:
            raise VrnError(f"face {index} is damaged: write the shards again")

    for get in (
        lambda: next(batches.endless(Damaged(), 3, 0, 4, workers)),
        lambda: batches.first(Damaged(), 4, 4, workers),
    ):
        with pytest.raises(VrnError) as said:
            get()
        assert re.fullmatch(r"face \d+ is damaged: write the shards again", str(said.value))


def test_worker_processes_give_the_same_batches():
    class Data:
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index: int) -> dict[str, np.ndarray]:
            return sample(np.random.default_rng(index), 8, 10)

    alone, helped = (batches.endless(Data(), 3, 0, 4, workers) for workers in (0, 2))
    for _ in range(4):
        one, other = next(alone), next(helped)
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't fork")
def test_workers_have_one_thread_even_after_a_fork_of_many():
    # in a process of its own, which has used every pool of threads before it forks, and which must end
    text = """
        import numpy as np, torch
        from threadpoolctl import threadpool_info
        from vrnlib import batches
        from vrnlib.databases import SynthLP

        class Data(SynthLP):
            def __getitem__(self, index):
                blas = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
                assert torch.get_num_threads() == 1 and set(blas) == {1}, blas
                return super().__getitem__(index)

        torch.set_num_threads(2)
        torch.ones(2000, 2000) @ torch.ones(2000, 2000)
        np.ones((2000, 2000)) @ np.ones((2000, 2000))
        SynthLP(32, 34)[0]
        stream = batches.endless(Data(32, 34), 0, 0, 4, 2)
        print(next(stream)["image"].shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=120
    )
    assert "[4, 32, 32, 3]" in done.stdout, done.stderr


def test_landmarks_travel_if_there_are_any():
    rng = np.random.default_rng(2)
    faces = [
        {**sample(rng, 8, 10), "landmarks": rng.normal(size=(68, 2)).astype(np.float32)} for _ in range(3)
    ]
    batch = batches.pack(faces)
    assert np.array_equal(batch["landmarks"].numpy(), np.stack([f["landmarks"] for f in faces]))
    assert "landmarks" not in batches.pack([sample(rng, 8, 10)])


def test_samples_of_different_sizes_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(VrnError, match="differ in size"):
        batches.pack([sample(rng, 8, 10), sample(rng, 12, 10)])


class Counted:
    """Samples of numbers, and how many were drawn."""

    def __init__(self) -> None:
        self.drawn = 0

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        self.drawn += 1
        return {**sample(np.random.default_rng(index), 8, 10), "landmarks": np.full((68, 2), float(index))}


def stream(data, count: int, seed: int = 0):
    return [batch for batch, _ in zip(batches.endless(data, seed, 0, 3, 0), range(count), strict=False)]


def test_kept_batches_are_the_drawn_ones_and_drawn_once(tmp_path):
    plain, data = stream(Counted(), 4), Counted()
    for _ in range(2):
        again = stream(batches.Kept(data, tmp_path, ["a", 8]), 4)
        for one, other in zip(plain, again, strict=True):
            assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
        assert data.drawn == 12 + 3  # the fifth batch is fetched ahead of the end
    stream(batches.Kept(data, tmp_path, ["b", 8]), 4)
    assert data.drawn == 30  # of another identity nothing is taken


def test_a_damaged_kept_batch_is_drawn_again(tmp_path):
    data = Counted()
    kept = batches.Kept(data, tmp_path, "x")
    one = kept.__getitems__([4, 2])
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    other = kept.__getitems__([4, 2])
    assert data.drawn == 4 and all(torch.equal(one[k], other[k]) for k in one)
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".safetensors"]


def test_a_program_ends_though_its_stream_was_never_closed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "from vrnlib import batches\n"
        "class Data:\n"
        "    def __getitem__(self, i):\n"
        "        return {'image': np.zeros((8, 8, 3), np.uint8), 'volume': np.zeros((10, 8, 8), np.uint8)}\n"
        "keep = [batches.endless(Data(), 0, 0, 2, 2)]\n"
        "keep.append(keep)\n"
        "next(keep[0])\n"
    )
    subprocess.run([sys.executable, program], check=True, timeout=60)
