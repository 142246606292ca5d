"""The frozen test databases whose faces are drawn: protocols, held-out shapes, the manifest."""

import collections
import csv

import numpy as np
import pytest

from vrnlib import metrics
from vrnlib.anthropometry import plausible
from vrnlib.databases import heldout, manifest, nuisance
from vrnlib.databases.expressions import SIX, SynthExpressions
from vrnlib.databases.heldout import EXPRESSIONS, load_heldout, sample_person
from vrnlib.databases.wild import BANDS, SynthWild
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, sample_expression, sample_identity

DRAWN = ("synth-wild", "synth-expressions", "synth-expressions-frontal")


def _neutral_people(count: int) -> list[heldout.Person]:
    return [sample_person(np.random.default_rng((3, i))) for i in range(count)]


# --- held-out shapes


def test_heldout_fields_belong_to_the_basis_and_are_bounded():
    held, basis = load_heldout(), load_basis()
    assert held.fields.shape == (len(held.names), len(basis.mean), 3)
    assert len(set(held.names)) == len(held.names)
    kinds = collections.Counter(n.split("/")[0] for n in held.names)
    assert kinds["expression"] > 30 and kinds["asymmetry"] > 40
    assert np.abs(held.fields).max() < 40  # mm
    # tenths of a millimetre, as MakeHuman wrote them
    assert np.abs(held.fields * 10 - np.round(held.fields * 10)).max() < 1e-3
    # an asymmetry moves the sides differently
    for name in ("asymmetry/jaw-3-l", "asymmetry/nose-1-r"):
        field = held.fields[held.names.index(name)]
        assert np.abs(field - field[basis.mirror] * [-1, 1, 1]).max() > 1.0


@pytest.mark.slow
def test_heldout_file_is_what_its_builder_makes():
    pytest.importorskip("anny", reason="only the builder needs anny")
    from vrnlib.basis import HELDOUT_PATH, build_heldout

    made = build_heldout()
    with np.load(HELDOUT_PATH, allow_pickle=False) as kept:
        assert set(kept.files) == set(made)
        for key, value in made.items():
            assert np.array_equal(kept[key], value), key


def test_heldout_shapes_are_not_in_trainings_span():
    # what is left of a held-out field after the best combination of all of training's
    held, basis = load_heldout(), load_basis()
    ids = np.ix_(range(len(basis.names)), np.arange(len(basis.mean))[basis.surface])
    known = basis.fields.reshape(len(basis.names), -1, 3)[ids].reshape(len(basis.names), -1)
    q, _ = np.linalg.qr(known.T)
    for name in ("expression/caucasian/mouth-corner-puller", "asymmetry/cheek-2-l"):
        field = held.fields[held.names.index(name)][basis.surface].ravel()
        rest = field - q @ (q.T @ field)
        assert np.linalg.norm(rest) > 0.15 * np.linalg.norm(field), name


def test_heldout_people_are_plausible_and_more_asymmetric_than_trainings():
    basis = load_basis()
    people = np.stack([p.neutral for p in _neutral_people(40)])
    assert plausible(people).all()
    rng = np.random.default_rng(0)
    training = np.stack([basis.vertices(sample_identity(rng)) for _ in range(40)])

    def asymmetry(heads: np.ndarray) -> float:
        other = heads[:, basis.mirror] * [-1, 1, 1]
        return float(np.sqrt(((heads - other)[:, basis.surface] ** 2).sum(2).mean()))

    assert 1.2 * asymmetry(training) < asymmetry(people) < 4.0  # mm


def test_expressions_do_what_they_are_called():
    person = _neutral_people(1)[0]
    l = load_basis().landmarks
    still = np.zeros(2)
    heads = {e: person.head(e, 1.0, still)[l] for e in EXPRESSIONS}
    neutral = heads["Neutral"]
    assert np.array_equal(neutral, person.neutral[l])

    def opening(p: np.ndarray) -> float:
        return float(p[62, 1] - p[66, 1])

    assert opening(heads["Surprise"]) > opening(neutral) + 10  # mm
    corners = {e: p[[48, 54], 1].mean() - p[[51, 57], 1].mean() for e, p in heads.items()}
    assert corners["Happy"] > corners["Neutral"] + 2 and corners["Sad"] < corners["Neutral"] - 2
    brows = {e: p[[21, 22], 1].mean() for e, p in heads.items()}
    assert brows["Fear"] > brows["Neutral"] + 2 and brows["Angry"] < brows["Neutral"] - 2
    with pytest.raises(VrnError, match="unknown expression 'happy'"):
        person.head("happy", 1.0, still)
    with pytest.raises(VrnError, match="no held-out expression unit 'smile'"):
        load_heldout().unit("smile", np.ones(3) / 3)


def test_test_expressions_use_no_facial_action_of_training():
    # the shape of a held-out smile is not training's: mean distance after the best scale
    person, basis = _neutral_people(1)[0], load_basis()
    smile = (person.head("Happy", 1.0, np.zeros(2)) - person.neutral)[basis.surface].ravel()
    rng, nearest = np.random.default_rng(0), []
    for _ in range(60):
        drawn = sample_expression(rng)[basis.kind == 2] @ basis.fields[basis.kind == 2]
        drawn = drawn.reshape(-1, 3)[basis.surface].ravel()
        nearest.append(drawn @ smile / max(np.linalg.norm(drawn) * np.linalg.norm(smile), 1e-9))
    assert max(nearest) < 0.95


# --- protocols


def test_wild_has_aflws_yaws_and_variety():
    data = SynthWild(32, 32)
    assert len(data) == 2000
    infos = [data.info(i) for i in range(0, 2000, 10)]
    assert len({i["identity"] for i in infos}) == len(infos)
    for key, least in (("light", 5), ("occluder", 5), ("expression", 7)):
        assert len({i[key] for i in infos}) >= least, key
    from vrnlib.databases import wild

    count = collections.Counter(wild._bands().tolist())
    assert [count[b] for b in range(3)] == [n for *_, n in BANDS] == [1312, 383, 305]
    for i in infos[:50]:
        low, high, _ = BANDS[wild._bands()[i["identity"]]]
        assert low <= abs(i["yaw"]) <= high
    with pytest.raises(VrnError, match="0 to 1999, asked for 2000"):
        data[2000]


def test_expressions_follow_the_protocol():
    data = SynthExpressions(32, 32)
    infos = [data.info(i) for i in range(len(data))]
    assert len(infos) == 2037
    pairs = collections.Counter((i["identity"], i["expression"]) for i in infos)
    assert len(pairs) == 97 and set(pairs.values()) == {21}
    assert {i["expression"] for i in infos} == {"Happy", "Surprise"}
    assert sorted({i["pitch"] for i in infos}) == [-20, 0, 20]
    yaws = sorted({i["yaw"] for i in infos})
    assert len(yaws) == 7 and yaws[0] == -80 and yaws[-1] == 80
    frontal = SynthExpressions(32, 32, table="expressions")
    shown = [frontal.info(i) for i in range(len(frontal))]
    assert collections.Counter(i["expression"] for i in shown) == dict.fromkeys(SIX, 49)
    assert all(i["yaw"] == i["pitch"] == 0 for i in shown)
    # a face that is in both tables is the same picture
    at = next(k for k, i in enumerate(infos) if i == {**shown[3]})
    assert shown[3]["expression"] == "Happy"
    assert np.array_equal(data[at]["image"], frontal[3]["image"])
    with pytest.raises(VrnError, match="tables 'poses' and 'expressions', not 'all'"):
        SynthExpressions(table="all")


@pytest.mark.parametrize("name", DRAWN)
def test_samples_have_the_databases_interface(name):
    data = manifest.DATABASES[name](32, 40, truth=True)
    sample, again = data[7], data[7]
    assert sample["image"].shape == (32, 32, 3) and sample["image"].dtype == np.uint8
    assert sample["volume"].shape == (40, 32, 32) and set(np.unique(sample["volume"])) == {0, 1}
    assert sample["landmarks"].shape == (68, 2) and sample["points"].shape[1] == 3
    for key in sample:
        assert np.array_equal(sample[key], again[key]), key
    info = data.info(7)
    assert np.allclose(np.rad2deg(sample["pose"]), [info["pitch"], info["yaw"], info["roll"]], atol=1e-3)
    # the truth lies on the solid: where nothing is cut off, its front is at the volume's front
    assert metrics.interocular(sample["eyes"]) > 5


# --- nuisances


@pytest.mark.parametrize("name", [*nuisance.OCCLUDERS, *nuisance.CAMERA])
def test_every_nuisance_changes_the_picture_and_nothing_else(name):
    sample = SynthWild(128, 32)[5]
    effect = nuisance.OCCLUDERS.get(name) or nuisance.CAMERA[name][1]
    before = sample["image"].copy()
    out = effect(sample["image"], sample["landmarks"], np.random.default_rng(2))
    assert np.array_equal(sample["image"], before)  # the input is left alone
    assert out.shape == before.shape and out.dtype == np.uint8
    changed = (np.abs(out.astype(int) - before).max(2) > 4).mean()
    assert changed > 0.01, changed
    if name in nuisance.OCCLUDERS:
        assert changed < 0.6  # something is left of the picture
    assert np.array_equal(out, effect(before, sample["landmarks"], np.random.default_rng(2)))


# --- frozen


@pytest.mark.parametrize("name", DRAWN)
def test_a_random_subset_is_still_as_frozen(name):
    rows = manifest.frozen(name)
    assert len(rows) == len(manifest.DATABASES[name](32, 32))
    for index in np.random.default_rng().choice(len(rows), 4, replace=False).tolist():
        wrong = manifest.differences(manifest.fingerprint(name, index), rows[index])
        assert not wrong, f"{name} {index}: {wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_larger_subset_is_still_as_frozen(name):
    rows = manifest.frozen(name)
    for index in range(3, len(rows), 40):
        wrong = manifest.differences(manifest.fingerprint(name, index), rows[index])
        assert not wrong, f"{name} {index}: {wrong}"


def test_fingerprints_notice_what_matters_and_forgive_the_last_bit():
    row = manifest.frozen("synth-wild")[0]
    assert manifest.differences(row, row) == []
    other = manifest.frozen("synth-wild")[1]
    assert len(manifest.differences(other, row)) == 4

    def changed(column: str, digits: int, by: int) -> dict[str, str]:
        first = int(row[column][:digits], 16) + by
        return {**row, column: f"{first:0{digits}x}{row[column][digits:]}"}

    assert manifest.differences(changed("image", 2, 1), row) == []
    assert manifest.differences(changed("image", 2, 8), row) == ["image differ by up to 8 levels"]
    assert manifest.differences(changed("landmarks", 4, 3), row) == []
    assert manifest.differences(changed("landmarks", 4, 50), row)
    assert manifest.differences(changed("volume", 2, 4), row)
    assert manifest.differences({**row, "parameters": "0" * 16}, row) == ["made from other random numbers"]


def test_a_damaged_table_is_refused(tmp_path, monkeypatch):
    for path in manifest.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(manifest, "FOLDER", tmp_path)
    assert manifest.frozen("synth-expressions-frontal")
    table = tmp_path / "synth-expressions-frontal.csv"
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[5][1] = "0" * 16
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    with pytest.raises(VrnError, match="not the table that index.json names"):
        manifest.frozen("synth-expressions-frontal")
    with pytest.raises(VrnError, match="did you mean 'synth-wild'"):
        manifest.frozen("synth-wilde")


def test_the_command_freezes_and_checks(tmp_path, monkeypatch, capsys):
    class Few(SynthExpressions):
        def __len__(self) -> int:
            return 2

    monkeypatch.setattr(manifest, "FOLDER", tmp_path)
    monkeypatch.setitem(manifest.DATABASES, "few", Few)
    assert manifest.main(["few"]) == 0
    assert manifest.main(["few", "--check"]) == 0
    # the same database with another person in it
    monkeypatch.setattr(Few, "parameters", lambda self, index: [np.array([index])])
    assert manifest.main(["few", "--check"]) == 1
    assert "few 1: made from other random numbers" in capsys.readouterr().out
    assert manifest.main(["fwe"]) == 2
    assert "did you mean 'few'" in capsys.readouterr().err
