"""Table 1: the author's arrays, the cache of predictions, verdicts, breakdowns, and what is refused."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from real_files import write_florence

from vrnlib import metrics, provenance
from vrnlib.baselines import methods as baseline_methods
from vrnlib.baselines.morphable import load_morphable
from vrnlib.errors import VrnError
from vrnlib.faces import rotation_matrix
from vrnlib.table1 import (
    author_files,
    authors,
    cost,
    curves,
    discussion,
    entrants,
    paired,
    paper,
    pictures,
    predictions,
    report,
    run,
    samples,
    shapes,
    store,
)
from vrnlib.table1 import table as tables
from vrnlib.table1.span import Span

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results" / "table1"
QUICK = ("mean-face-gt", entrants.TRUTH)
"""Methods that need no network and read crops of any size."""


class HerePool:
    """A pool of no processes: tasks run here, and `until` of them only."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.done = until, 0

    def imap(self, work, tasks):
        for task in tasks:
            if self.done == self.until:
                raise KeyboardInterrupt
            self.done += 1
            yield work(task)

    def terminate(self) -> None:
        pass


# --- the author's arrays


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """A folder with arrays of the author's form and our own numbers, and the hashes to match."""
    folder, rng = tmp_path / "chapter_faces", np.random.default_rng(0)
    persons = [f"{k:02d}" for k in range(45)]
    names = [f"florence_{p}_-15_{y}_vol.raw" for p in persons for y in (-80, -40, 0, 40, 80)] * 5
    names = np.array([(n,) for n in names[:921]], dtype=[("name", "O")])[:, None]
    changed = {}

    def write(source: author_files.Source) -> author_files.Source:
        if source.path in changed:
            return dataclasses.replace(changed[source.path], column=source.column, number=source.number)
        columns = max(source.column, source.number or 0) + 1
        e = rng.uniform(0.02, 0.1, (source.rows, columns))
        if source.rows == 921:
            e[591:, source.column] = 0
        if source.number is not None:
            e[:, source.number] = np.arange(1, source.rows + 1)
        path = folder / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(
            path, {"E": e, "names": names} if "florence_detected.mat" in source.path else {"E": e}
        )
        changed[source.path] = dataclasses.replace(source, sha256=provenance.sha256(path))
        return changed[source.path]

    cells = {cell: write(s) for cell, s in author_files.CELLS.items()}
    networks = {name: write(s) for name, s in author_files.ARCHITECTURES.items()}
    for module in (author_files, authors):
        monkeypatch.setattr(module, "CELLS", cells)
        monkeypatch.setattr(module, "ARCHITECTURES", networks)
    return folder


def test_a_summary_holds_means_of_scored_images_and_no_arrays(arrays, tmp_path):
    summary = authors.write(tmp_path / "authors.json", arrays)
    cell = summary["cells"]["nme"]["Florence"]["vrn"]
    e = scipy.io.loadmat(arrays / author_files.CELLS["nme", "Florence", "vrn"].path)["E"][:591, 1]
    assert cell["mean"] == pytest.approx(e.mean(), rel=1e-9) and cell["faces"] == 591
    low, high = cell["interval"]
    assert low < cell["mean"] < high
    # pairs are of the same images: what only one method has is left out
    test = summary["paired"]["nme"]["Florence"]["3ddfa - eos"]
    assert test["faces"] == 552
    assert "eos - vrn" not in summary["paired"]["rigid"]["AFLW2000-3D"]

    def longest(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return max([len(value) if isinstance(value, list) else 0, *(longest(v) for v in inner)])

    assert longest(json.loads((tmp_path / "authors.json").read_text())) <= 41  # a curve, no images


def test_damaged_or_missing_arrays_are_refused(arrays, tmp_path):
    path = arrays / author_files.CELLS["nme", "Florence", "eos"].path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VrnError, match=r"florence-eos\.mat' is damaged or not the authors' file"):
        authors.write(tmp_path / "authors.json", arrays)
    path.unlink()
    with pytest.raises(VrnError, match="cannot read"):
        authors.write(tmp_path / "authors.json", arrays)
    with pytest.raises(VrnError, match="--author-arrays"):
        authors.write(tmp_path / "authors.json", tmp_path / "nowhere")
    assert not (tmp_path / "authors.json").exists()
    with pytest.raises(VrnError, match="no errors for nme, BU-4DFE"):
        authors.errors(arrays, ("nme", "BU-4DFE", "vrn"))


def test_arrays_are_fetched_checked_and_kept(arrays, tmp_path, capsys):
    kept = tmp_path / "kept"
    with pytest.raises(VrnError, match=r"can't be fetched.*go online once, or name a copy"):
        authors.fetch(kept, (tmp_path / "offline").as_uri() + "/")
    assert authors.fetch(kept, arrays.as_uri() + "/") == kept
    assert {str(p.relative_to(kept)) for p in kept.rglob("*.mat")} == set(author_files.files())
    authors.fetch(kept, (tmp_path / "offline").as_uri() + "/")  # everything is there: nothing is fetched
    victim = next(iter(author_files.files()))
    (kept / victim).unlink()
    (arrays / victim).write_bytes(b"another file")
    with pytest.raises(VrnError, match="is not the file we know"):
        authors.fetch(kept, arrays.as_uri() + "/")
    assert not (kept / victim).exists()
    assert authors.main(["--author-arrays", str(tmp_path / "none"), "--out", str(tmp_path / "a.json")]) == 2
    assert "error: --author-arrays" in capsys.readouterr().err


@pytest.mark.skipif(not (COMMITTED / "authors.json").is_file(), reason="no committed summary")
def test_the_committed_summary_is_what_the_paper_prints():
    summary = provenance.read_json(COMMITTED / "authors.json")
    assert summary["files"] == author_files.files()
    cells = {
        (e, d, m): c for e, ds in summary["cells"].items() for d, ms in ds.items() for m, c in ms.items()
    }
    assert set(cells) == set(author_files.CELLS)
    for (error, database, method), cell in cells.items():
        assert round(cell["mean"], 4) == paper.TABLES[error][database][method]
        low, high = cell["interval"]
        assert low < cell["mean"] < high


# --- verdicts


def _ours(**means: float) -> dict:
    return {m: {"mean": v, "interval": (v - 0.01, v + 0.01)} for m, v in means.items()}


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        (_ours(a=0.05, b=0.08, c=0.11), paper.SEPARATED),
        (_ours(a=0.05, b=0.06, c=0.11), paper.REPRODUCED),
        (_ours(a=0.05, b=0.04, c=0.11), paper.NOT_REPRODUCED),
        (_ours(a=0.05), paper.NOT_RUN),
        (_ours(b=0.05, c=0.06), paper.NOT_RUN),
        ({**_ours(a=0.05, c=0.11), "b": {"mean": None, "interval": None}}, paper.SEPARATED),
    ],
)
def test_verdicts_of_a_cell(ours, word):
    found = tables.verdict("a", ours, {"a": 0.1, "b": 0.2, "c": 0.3})
    assert found["verdict"] == word
    assert (found["compared"] == []) == (word == paper.NOT_RUN)


def test_claims_count_their_comparisons():
    claims = tables.claim_verdicts(_ours(guided=0.02, vrn=0.05, eos=0.08), [])
    assert claims["guided best"] == {"verdict": paper.SEPARATED, "compared": 2, "of": 4, "against": []}
    assert claims["volumes beat fitting"]["compared"] == 2
    assert claims["multitask no better"]["verdict"] == paper.NOT_RUN
    worse = tables.claim_verdicts(_ours(guided=0.09, eos=0.08), [])
    assert worse["volumes beat fitting"]["verdict"] == paper.NOT_REPRODUCED
    assert worse["volumes beat fitting"]["against"] == [("guided", "eos")]
    # a doubtful method decides nothing
    assert tables.claim_verdicts(_ours(guided=0.09, eos=0.08), [], ["eos"])["guided best"]["compared"] == 0
    test = {"a": "vrn", "b": "multitask", "significant": True}
    assert tables.claim_verdicts({}, [test])["multitask no better"]["verdict"] == paper.NOT_REPRODUCED


def test_deviations_exist_and_every_cell_has_a_word():
    known = (ROOT / "results" / "DEVIATIONS.md").read_text(encoding="utf-8")
    for ids in tables.DEVIATIONS.values():
        assert ids and all(f"| {i} |" in known for i in ids)
    assert set(paper.VERDICTS) == {paper.SEPARATED, paper.REPRODUCED, paper.NOT_REPRODUCED, paper.NOT_RUN}
    rows = tables.build("rigid", {}, {}, authors=None, seeds={}, reasons={"vrn": "no checkpoint"})
    assert len(rows) == 15 and len(tables.text_rows(rows)[0]) == len(tables.HEADER)
    assert {r["verdict"] for r in rows} == {paper.NOT_RUN, "the printed cell is doubtful"}
    assert rows[0]["not_run"] == "no checkpoint" and rows[0]["ours"] is None


def test_seeds_are_kept_apart_from_the_trained_network():
    assert tables.across_seeds({}) == {"means": {}, "mean": None, "sd": None}
    assert tables.seed_cell(tables.across_seeds({})) == ""
    assert tables.across_seeds({"0": 0.1, "1": None})["sd"] is None
    found = tables.across_seeds({"0": 0.1, "1": 0.12, "2": 0.14})
    assert found["mean"] == pytest.approx(0.12) and found["sd"] == pytest.approx(0.02)
    assert tables.seed_cell(found) == "0.1200 ± 0.0200 (3)"
    rows = [
        {"method": m, "database": "Florence", "seeds": tables.across_seeds(dict(zip("012", v, strict=True)))}
        for m, v in {"guided": (0.1, 0.2, 0.3), "vrn": (0.2, 0.1, 0.4)}.items()
    ]
    (line,) = discussion.seeds({"tables": {"nme": rows}})
    assert "VRN-Guided before VRN in 2 of 3 seeds" in line and "mapped-scans" in line


# --- which faces


@pytest.mark.parametrize(("people", "poses"), [(97, 21), (49, 6), (46, 15)])
def test_every_beginning_of_the_order_is_a_fair_share(people, poses):
    order = samples.spread(people * poses, people, poses)
    assert sorted(order) == list(range(people * poses))
    assert samples.spread(50, people, poses) == order[:50]
    first = np.array(order[: 4 * poses])
    assert (np.bincount(first % poses) == 4).all()
    assert len(set((first[:poses] // poses).tolist())) == poses  # a round shows each person once


def test_plan_covers_what_is_missing_once():
    missing = {"a": {0, 1, 2, 3, 7}, "b": {2, 3}, "c": set()}
    tasks = list(predictions.plan([7, 3, 2, 1, 0, 9], missing, chunk=2))
    seen = {m: [i for indices, who in tasks for i in indices if m in who] for m in missing}
    assert {m: set(v) for m, v in seen.items()} == missing
    assert all(len(v) == len(set(v)) for v in seen.values())
    assert all(len(indices) <= 2 for indices, _ in tasks)


def test_unknown_names_are_refused_and_a_missing_checkpoint_is_not_run(tmp_path, monkeypatch):
    with pytest.raises(VrnError, match=r"unknown database 'synth-wlid' \(did you mean 'synth-wild'\?\)"):
        samples.open_faces("synth-wlid", "smoke")
    with pytest.raises(VrnError, match=r"unknown method 'oes' \(did you mean 'eos'\?\)"):
        entrants.find(["oes"])
    with pytest.raises(VrnError, match="unknown database 'synth'"):
        run.run(tmp_path, databases=["synth"])
    with pytest.raises(VrnError, match="at least 2 faces"):
        run.run(tmp_path, faces=1)
    with pytest.raises(VrnError, match="write --data NAME=PATH"):
        run.parse_data(["Florence"])
    with pytest.raises(VrnError, match=r"unknown database 'Florenz' \(did you mean 'Florence'\?\)"):
        run.parse_data([f"Florenz={tmp_path}"])
    with pytest.raises(VrnError, match="is not a folder"):
        run.parse_data([f"Florence={tmp_path}/none"])
    monkeypatch.setattr(baseline_methods, "_NETWORKS", {"vrn": Path("none") / "vrn.safetensors"})
    able, reasons = entrants.find(["vrn", *QUICK], 32)
    assert set(able) == set(QUICK) and "no checkpoint" in reasons["vrn"]
    monkeypatch.undo()
    _, reasons = entrants.find(["vrn"], 32)
    assert "96" in reasons["vrn"] or "no checkpoint" in reasons["vrn"]


# --- the cache of predictions


def _predict(folder, until=None, faces=5, names=QUICK):
    able, _ = entrants.find(names, 32)
    pool = HerePool(until)
    stores = predictions.predict_all(folder, "synth-expressions", able, faces, profile="smoke", pool=pool)
    return stores, pool.done


def test_an_interrupted_evaluation_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "CHUNK", 2)
    whole, tasks = _predict(tmp_path / "whole")
    assert tasks == 3 and all(len(s.rows) == 5 for s in whole.values())
    with pytest.raises(KeyboardInterrupt):
        _predict(tmp_path / "part", until=1)
    kept = store.load_store(tmp_path / "part", "synth-expressions", entrants.TRUTH)
    assert len(kept.rows) == 2 == len(kept.mapped)
    again, tasks = _predict(tmp_path / "part")
    assert tasks == 2  # the first chunk is not computed twice
    a, b = (
        [store.read_rows(store.paths(f, "synth-expressions", m)[0]) for m in QUICK]
        for f in (tmp_path / "whole", tmp_path / "part")
    )
    for one, other in zip(a, b, strict=True):
        for x, y in zip(one, other, strict=True):
            same = {k: v for k, v in x.items() if k != "seconds"}
            assert same == pytest.approx({k: y[k] for k in same}, nan_ok=True)
    for m in QUICK:
        assert again[m].error_map() == pytest.approx(whole[m].error_map(), rel=1e-4, nan_ok=True)
    # complete: nothing is drawn, nothing predicted
    monkeypatch.setattr(predictions, "score_face", lambda *_: pytest.fail("computed again"))
    assert _predict(tmp_path / "part")[1] == 0
    row = a[0][0]
    assert row["nme_rigid"] < row["nme"] < 0.2 and row["status"] == "ok"
    assert row["identity"] != "" and row["expression"] in ("Happy", "Surprise")
    truth = a[1][0]
    assert truth["iou"] == 1 and truth["nme"] < 0.06 and np.isnan(row["iou"])


def test_a_new_checkpoint_a_lost_map_and_a_damaged_table(tmp_path, monkeypatch):
    names = (entrants.TRUTH,)
    _predict(tmp_path, faces=2, names=names)
    table, maps = store.paths(tmp_path, "synth-expressions", entrants.TRUTH)
    maps.write_bytes(b"damaged")
    assert _predict(tmp_path, faces=2, names=names)[1] == 1  # computed again, with its map
    monkeypatch.setattr(entrants, "fingerprint", lambda _: "another checkpoint")
    stores, tasks = _predict(tmp_path, faces=2, names=names)
    assert tasks == 1 and len({r["stamp"] for r in stores[entrants.TRUTH].rows.values()}) == 1
    table.write_text(table.read_text().replace(",ok,", ",ok"))
    with pytest.raises(VrnError, match="is damaged .a row is cut off."):
        _predict(tmp_path, faces=2, names=names)
    table.write_text("index,nme\n0,0.1\n")
    with pytest.raises(VrnError, match="is not a table of faces"):
        _predict(tmp_path, faces=2, names=names)


def test_a_method_that_fails_is_counted_not_dropped(tmp_path):
    class Broken:
        sees_truth = False

        def predict(self, image, landmarks=None):
            raise VrnError("no face\nis found")

    faces = samples.open_faces("synth-expressions", "smoke")
    row, score = predictions.score_face(entrants.Runner("x", Broken()), faces.data[0], faces.info(0))
    assert score is None and np.isnan(row["nme"]) and row["status"] == "no face is found"
    kept = store.Store({0: {"index": 0, **row}, 1: {"index": 1, **row, "nme": 0.1}})
    found = tables.summarise(kept, [0, 1])
    assert (found["faces"], found["failed"], found["mean"]) == (2, 1, 0.1)
    assert "1 failed" in tables.cell(found) and curves.curve(kept, [0, 1])["shares"][-1] == 0.5
    assert pictures.examples(kept, [0, 1]) == {"best": 1, "median": 1, "worst": 1}


def test_a_fingerprint_follows_code_and_files_but_not_comments(tmp_path):
    path = tmp_path / "code.py"
    path.write_text('"""Doc."""\ndef f():\n    """Doc."""\n    return 1\n')
    first = entrants._code(path)
    path.write_text('"""Other."""\n# comment\ndef f():\n    """More."""\n    return 1\n')
    assert entrants._code(path) == first
    path.write_text('"""Doc."""\ndef f():\n    """Doc."""\n    return 2\n')
    assert entrants._code(path) != first
    prints = {entrants.fingerprint(m) for m in ("eos-gt", "eos-30-gt", "mean-face-gt", entrants.TRUTH)}
    assert len(prints) == 4


# --- distances, breakdowns, tests


def test_the_distance_is_small_in_the_span_and_grows_outside():
    model, rng = load_morphable(), np.random.default_rng(0)
    span = Span(model)
    face = model.shape(rng.normal(size=20), rng.normal(size=10)).astype(np.float64)
    bump = face.copy()
    bump[:, 2] += 2 * np.sin(face[:, 0] / 5) * np.sin(face[:, 1] / 5)  # no face has waves of 3 cm
    pose = np.array([0.2, -0.7, 0.1])

    def seen(shape: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        moved = shape @ rotation_matrix(*pose).T * np.array([1, -1, 1]) * scale + [40, 50, 3]
        return model.points(moved), moved[model.landmarks[[36, 45]]]

    inside = span.distance(*seen(face, 0.5), pose)
    larger = span.distance(*seen(face, 2.0), pose)
    outside = span.distance(*seen(bump, 0.5), pose)
    assert inside.residual < 0.003 and larger.residual == pytest.approx(inside.residual, rel=0.2)
    assert outside.residual > 2 * inside.residual
    assert 0.2 < inside.typicality < 1.5 and len(inside.identity) == len(model.identity_basis)
    with pytest.raises(VrnError, match="100 finite points"):
        span.distance(np.full((200, 3), np.nan), np.eye(2, 3), pose)


def _store(values, people=None, yaw=None) -> store.Store:
    n = len(values)
    people = people or [str(i) for i in range(n)]
    yaw = yaw or [10.0] * n
    return store.Store({
        i: {"index": i, "nme": v, "nme_rigid": v / 2, "identity": p, "yaw": y, "expression": "ab"[i % 2],
            "iou": np.nan, "nme_mask": v, "rigid_mask": v, "seconds": 0.1}
        for i, (v, p, y) in enumerate(zip(values, people, yaw, strict=True))
    })  # fmt: skip


def test_breakdowns_by_hand():
    s = _store([0.02, 0.04, 0.06, 0.12], yaw=[0, -40, 70, 80])
    found = curves.breakdown(s, [0, 1, 2, 3])
    assert [b["mean"] for b in found["by_yaw"]] == pytest.approx([0.02, 0.04, 0.09])
    assert found["by_expression"]["a"]["mean"] == pytest.approx(0.04)
    assert found["shares"]["0.05"] == 0.5
    distances = {0: 0.001, 1: 0.002, 2: 0.003, 3: 0.004}
    bounds = curves.edges(list(distances.values()), 2)
    bins = curves.by_distance([(s, distances, [0, 1, 2, 3], "x")], bounds)
    assert [b["mean"] for b in bins] == pytest.approx([0.03, 0.09])
    assert sum(b["faces"] for b in bins) == 4
    assert all(a < b for a, b in pairwise(bounds))


def test_paired_tests_take_persons():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.02, 0.1, 60)
    a, b = _store(base), _store(base + 0.005 + rng.normal(0, 0.001, 60))
    (test,) = paired.pairs({"a": a, "b": b}, range(60))
    assert (
        test["better"] == "a"
        and test["significant"]
        and test["difference"] == pytest.approx(-0.005, abs=1e-3)
    )
    # the same difference, carried by two persons alone, is not clear
    people = ["x"] * 30 + ["y"] * 30
    shift = np.where(np.arange(60) < 30, 0.02, -0.01)
    (test,) = paired.pairs({"a": _store(base, people), "b": _store(base + shift, people)}, range(60))
    assert test["better"] == ""
    assert paired.pairs({"a": _store([0.1]), "b": _store([0.2])}, [0]) == []


def test_the_error_map_shows_where_the_error_is():
    surface = samples.surface("synth-wild")
    middle = (surface.vertices[surface.ids] * surface.weights[..., None]).sum(1)
    errors = np.where(middle[:, 0] > 0, 0.1, 0.02)
    score = metrics.Score(0.0, 0.0, errors, errors / 2, np.zeros(0, int), 0.0, 1.0, None)
    total, weight = np.zeros((2, 2, len(surface.vertices)))
    predictions._spread(surface, score, None, total, weight)
    s = store.Store()
    s.add([], total, weight)
    values, x = s.error_map(), surface.vertices[:, 0]
    hit = np.isfinite(values)
    assert values[hit & (x > 20)] == pytest.approx(0.1) and values[hit & (x < -20)] == pytest.approx(0.02)
    assert s.error_map(1)[hit & (x > 20)] == pytest.approx(0.05)
    picture = pictures.error_map(s, surface, most=0.1, size=60).astype(int)
    assert picture[30, 42].sum() > picture[30, 18].sum() + 100  # bright where it is large
    assert pictures.error_map(store.Store(), surface) is None


# --- all of it


def test_the_whole_run_and_again_without_computing(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "make_pool", lambda _: HerePool())
    fields = ("seconds", "processor_seconds", "faces", "open_seconds", "peak_megabytes")
    monkeypatch.setattr(cost, "measure", lambda todo, crops: {m: dict.fromkeys(fields, 1.0) for m in todo})

    def offline():
        raise VrnError("offline: --author-arrays")

    monkeypatch.setattr(authors, "fetch", offline)
    said: list[str] = []
    options = {"profile": "smoke", "faces": 3, "methods": QUICK, "databases": ["synth-expressions"]}
    content = run.run(tmp_path, **options, say=said.append)
    assert any("author's arrays: not run, offline" in line for line in said)
    found = content["databases"]["synth-expressions"]
    assert found["faces"] == 3 and 0 < found["residual"]["mean"] < 0.02
    assert found["methods"]["mean-face-gt"]["nme"]["faces"] == 3
    assert all(r["verdict"] == paper.NOT_RUN for r in content["tables"]["nme"])
    text = (tmp_path / "table1.md").read_text()
    assert "0.0676" in text and "not run" in text and str(tmp_path) not in text
    shown = json.loads((tmp_path / "examples" / "synth-expressions.json").read_text())
    assert len(shown) == 6 and max(abs(s["found_again_differs_by"]) for s in shown) < 1e-5
    assert len(shapes.read(tmp_path, "synth-expressions")) == 3
    monkeypatch.setattr(predictions, "score_face", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(Span, "distance", lambda *_: pytest.fail("computed again"))
    again = run.run(tmp_path, **options, say=said.append)
    assert again == content
    assert report.markdown(again) == text
    # asked for one method only: the other one's rows are still in the table
    one = run.run(tmp_path, **{**options, "methods": [entrants.TRUTH]}, say=said.append)
    assert one["databases"] == content["databases"]
    monkeypatch.setattr(entrants, "fingerprint", lambda name: f"new {name}")
    monkeypatch.setattr(predictions, "score_face", lambda *_: (content["a row"], None))
    with pytest.raises(KeyError):  # a changed method is computed again
        run.run(tmp_path, **options, say=said.append)


def test_a_real_database_by_path(tmp_path):
    folder = write_florence(tmp_path / "florence", people=2)
    faces = samples.open_faces("Florence", "smoke", folder)
    assert len(faces.indices(500)) == len(faces) == 30 and "30 samples" in faces.version
    index = faces.indices(1)[0]
    assert faces.info(index)["identity"].startswith("subject")
    runner = entrants.open_runner("mean-face-gt")
    row, score = predictions.score_face(runner, faces.data[index], faces.info(index))
    assert row["status"] == "ok" and 0 < row["nme"] < 0.2 and score is not None
    assert samples.surface("Florence") is None
    with pytest.raises(VrnError, match="unknown database 'florenc'"):
        samples.open_faces("florenc", "smoke", folder)


def test_cost_is_measured_in_its_own_process():
    crop = {
        "image": np.zeros((32, 32, 3), np.uint8),
        "landmarks": np.zeros((68, 2)),
        "volume": np.zeros((34, 32, 32)),
    }
    found = cost.measure({}, [crop] * 3)
    assert set(found) == {"nothing"} and found["nothing"]["faces"] == 1
    peak = found["nothing"]["peak_megabytes"]
    assert peak is None or 20 < peak < 2000


def test_the_discussion_is_computed():
    def cell(mean: float) -> dict:
        return {"nme": {"mean": mean}, "nme_rigid": {"mean": mean / 4}}

    content = {
        "databases": {"synth-wild": {"methods": {"vrn": cell(0.08), "eos": cell(0.04), "guided": cell(0.05)}}}
    }
    # paper: guided < vrn < eos; here eos < guided < vrn: one of three pairs is right
    assert discussion.pair_orders(content) == {"synth-wild": (1, 3)}
    pair = {"a": "guided", "b": "eos", "better": "eos"}
    for better, said in (("eos", "3DMM wins"), ("guided", "volume wins"), ("", "no clear difference")):
        tests = {"synth-wild": {"nme": [{**pair, "better": better}]}}
        assert said in discussion.fitting_wins(content, tests)[0]
    assert ["75 %" in row for row in discussion.pose_share(content)] == [True] * 3
    assert any("0.50 here" in line for line in discussion.gaps(content))
    assert "here 0 of 3" in discussion.alignment(content)[0]
    content["databases"]["synth-wild"]["methods"]["eos"]["nme_rigid"]["mean"] = 0.018
    assert "here 1 of 3 (VRN-Guided and EOS, lambda 5000)" in " ".join(discussion.alignment(content))
    bins = {m: {"nme": [{"mean": a, "interval": (a, a)}, {"mean": b, "interval": (b, b)}]}
            for m, a, b in (("vrn", 0.08, 0.08), ("eos", 0.04, 0.06))}  # fmt: skip
    lines = discussion.distance({"by_distance": bins})
    assert "0.50 nearest, 0.75 farthest: fitting leads" in lines[-1] and "its lead shrinks" in lines[-1]
    assert discussion.landmarks(content) == ["No method has run on both detected and true landmarks."]
