"""What drawn faces look like: skin, mouth, shadows, switches, camera."""

from dataclasses import replace

import numpy as np
import pytest

from vrnlib import surface
from vrnlib.appearance import Light, Look, dress, plain, sample_light, sample_look, shade
from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.faces import (
    expression_coefficients,
    load_basis,
    rotation_matrix,
    sample_expression,
    sample_identity,
)
from vrnlib.shading import ambient_terms, labels
from vrnlib.variation import Ranges, Variation, factors, streams

LUMA = np.array([0.3, 0.59, 0.11])


def bare(look: Look) -> Look:
    """The same person without hair, beard, headwear or anything painted."""
    switches = Variation.without("hair", "beard", "headwear", "skin_detail")
    return plain(look, sample_light(np.random.default_rng(0)), switches)[0]


def lamp(direction: tuple[float, float, float], shadow: float = 1.0, gloss: float = 0.0) -> Light:
    unit = np.array(direction) / np.linalg.norm(direction)
    sky = np.full(3, 0.05, np.float32)
    return Light(np.array([[*unit, 1, 1, 1]], np.float32), sky, sky, shadow, gloss, scatter=0.0, penumbra=1.0)


def drawn(head: np.ndarray, look: Look, light: Light, yaw: float = 0.0, size: int = 256) -> np.ndarray:
    scale = size / 300
    return shade(dress(head, look), rotation_matrix(0, yaw, 0), scale, (size / 2, size * 0.45), light, size)


def test_skin_spans_the_human_range():
    skins = np.array([sample_look(np.random.default_rng(i)).skin @ LUMA for i in range(400)])
    assert skins.min() < 0.035 and skins.max() > 0.55  # reflectance of the darkest and the lightest skins
    assert 0.1 < np.median(skins) < 0.45
    dark = [sample_look(np.random.default_rng(i), ranges=Ranges(tone=(8, 9))).skin @ LUMA for i in range(30)]
    assert max(dark) < 0.1


def test_looks_and_lights_depend_on_the_generator_alone_and_leave_its_stream():
    a, b = sample_look(np.random.default_rng(3)), sample_look(np.random.default_rng(3))
    assert np.array_equal(a.values, b.values) and a.style == b.style and a.headwear == b.headwear
    rng, other = np.random.default_rng(4), np.random.default_rng(4)
    sample_look(rng)
    assert rng.random() == other.random()
    # shifted ranges draw as often as the default ones: what is drawn after the light stays the same
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    harsh = sample_light(rng, ranges=Ranges(ambient=(0.02, 0.05), key=(2, 3), behind=1.0))
    soft = sample_light(other)
    assert rng.random() == other.random()
    assert harsh.sky.max() < soft.sky.min()
    assert harsh.lamps[:, 2].sum() < soft.lamps[:, 2].sum()


def test_factors_have_their_own_generators():
    for names in (("hair", "noise"), ("noise",), factors()):
        assert streams(np.random.default_rng(6), *names)["noise"].random() == pytest.approx(
            streams(np.random.default_rng(6), "noise")["noise"].random(), abs=0
        )
    with pytest.raises(VrnError, match="'moustashe'.*beard"):
        Variation.without("moustashe")


@pytest.mark.parametrize("name", factors())
def test_every_switch_changes_the_picture_and_nothing_else(name):
    plenty = Ranges(headwear=0.5, glasses=0.6, occluder=0.6)
    full, less = (
        SynthLP(32, 34, seed=8, augment=True, variation=v, ranges=plenty)
        for v in (Variation(), Variation.without(name))
    )
    differ = 0
    for i in range(0, 16 * 12, 12):
        a, b = full[i], less[i]
        assert all(np.array_equal(a[k], b[k]) for k in ("volume", "landmarks", "pose"))
        differ += not np.array_equal(a["image"], b["image"])
    assert differ >= 3


def test_a_switch_leaves_the_other_factors_alone():
    # the same clothes, background and exposure whether glasses and occluders are there or not: most pixels
    # agree
    kept = ("jpeg", "noise", "blur", "white_balance")
    some = Ranges(glasses=1.0, occluder=0.0)
    with_glasses = SynthLP(64, 66, seed=9, augment=False, ranges=some, variation=Variation.without(*kept))
    without = SynthLP(
        64, 66, seed=9, augment=False, ranges=some, variation=Variation.without("glasses", *kept)
    )
    for i in (0, 13, 26):
        same = (with_glasses[i]["image"] == without[i]["image"]).all(2)
        assert 0.6 < same.mean() < 1.0


def test_teeth_are_seen_only_in_the_mouth():
    # A pixel of teeth must lie where, without teeth, the inside of the mouth is seen.
    rng, basis, seen = np.random.default_rng(10), load_basis(), 0
    for i in range(40):
        grin = (
            expression_coefficients({"jawOpen": 0.5, "mouthSmile": 0.8}) if i % 2 else sample_expression(rng)
        )
        head = basis.vertices(sample_identity(rng) + grin)
        scene = dress(head, bare(sample_look(rng)))
        rotation = rotation_matrix(rng.normal(0, 0.2), rng.uniform(-1.5, 1.5), 0)
        view = (rotation, 0.6, (80.0, 60.0))
        teeth = labels(scene, *view, 160) == surface.TEETH
        keep = np.r_[0 : scene.teeth[0], scene.teeth[1] : len(scene.faces)]
        toothless = replace(
            scene, faces=scene.faces[keep], part=scene.part[keep], teeth=(scene.teeth[0],) * 2
        )
        behind = labels(toothless, *view, 160)
        assert np.isin(behind[teeth], (surface.CAVITY, surface.TONGUE)).all()
        seen += int(teeth.sum())
    assert seen > 200


def test_closed_mouth_shows_no_teeth():
    rng, basis = np.random.default_rng(11), load_basis()
    scene = dress(basis.mean, bare(sample_look(rng)))
    for yaw in np.linspace(-1.4, 1.4, 8):
        assert (labels(scene, rotation_matrix(0, yaw, 0), 1.0, (130, 100), 260) == surface.TEETH).sum() <= 12


def test_nose_and_brow_cast_shadows_away_from_the_lamp():
    basis, look = load_basis(), bare(sample_look(np.random.default_rng(12)))
    p = basis.mean[basis.landmarks]
    scale = 256 / 300
    x, y = np.meshgrid((np.arange(256) - 128) / scale, (256 * 0.45 - np.arange(256)) / scale)  # mm
    nose = (np.abs(x) < 32) & (y > p[33, 1]) & (y < p[28, 1])

    def darkened(direction: tuple[float, float, float]) -> np.ndarray:
        with_shadow, without = (
            drawn(basis.mean, look, lamp(direction, shadow=k))[..., :3].sum(2) for k in (1.0, 0.0)
        )
        assert (with_shadow <= without + 1e-6).all()
        return with_shadow < 0.7 * without

    for side in (-1, 1):
        dark = darkened((-side, 0.1, 0.5)) & nose
        far, near = dark[x * side > 4].sum(), dark[x * side < -4].sum()
        assert far > 40 and far > 5 * near
    above = darkened((0, 1, 0.5))
    lip = (np.abs(x) < 8) & (y < p[33, 1]) & (y > p[51, 1])  # under the nose
    cheek = (np.abs(np.abs(x) - 40) < 8) & (np.abs(y + 35) < 10)
    assert above[lip].mean() > 0.4 and above[cheek].mean() < 0.1


def test_highlights_scattering_and_sky():
    basis, look = load_basis(), bare(sample_look(np.random.default_rng(13)))
    matt, shiny = (drawn(basis.mean, look, lamp((0.3, 0.3, 1), gloss=g)) for g in (0.0, 0.35))
    assert (shiny >= matt - 1e-6).all() and shiny[..., :3].max() > 1.1 * matt[..., :3].max()
    hard = lamp((1, 0.2, 0.2))
    red = []
    for light in (hard, replace(hard, scatter=1.5)):
        x = drawn(basis.mean, look, light)
        lit = x[..., 3] > 0
        red.append(np.abs(np.diff(x[..., 0], axis=1))[lit[:, 1:] & lit[:, :-1]].mean())
    assert red[1] < 0.95 * red[0]  # softer
    # the sky's polynomial is what its definition says
    light = replace(lamp((0, 0, 1)), sky=np.float32([0.9, 0.8, 0.7]), ground=np.float32([0.1, 0.2, 0.3]))
    terms = ambient_terms(light)
    assert np.allclose(terms[0] + terms[2], light.sky) and np.allclose(terms[0] - terms[2], light.ground)


def test_a_symmetric_head_in_symmetric_light_mirrors():
    basis = load_basis()
    head = (basis.mean + basis.mean[basis.mirror] * [-1, 1, 1]) / 2
    look = bare(sample_look(np.random.default_rng(14)))
    x = drawn(head.astype(np.float32), look, lamp((0, 0.3, 1)), size=241)[:, :240]
    a, b = x, np.roll(x[:, ::-1], 1, 1)
    assert np.abs(a - b)[..., :3].mean() < 0.03 * x[x[..., 3] > 0][:, :3].mean()


@pytest.mark.parametrize(
    "ranges",
    [
        Ranges(),
        Ranges(tone=(9, 9), ambient=(0.0, 0.02), key=(3, 6), noise=(0.2, 0.3), quality=(5, 6), behind=1.0),
    ],
)
def test_pictures_are_bytes_in_range_and_finite(ranges):
    data = SynthLP(48, 50, seed=15, ranges=replace(ranges, headwear=0.5, glasses=0.5, occluder=0.5))
    with np.errstate(all="raise", under="ignore"):
        pictures = np.stack([data[i * 12]["image"] for i in range(24)])
    assert pictures.dtype == np.uint8 and pictures.shape == (24, 48, 48, 3)
    assert (pictures.std((1, 2, 3)) > 1).all()  # none is empty
    look, light = sample_look(np.random.default_rng(16)), sample_light(np.random.default_rng(17))
    assert np.isfinite(drawn(load_basis().mean, look, light)).all()


def test_light_comes_from_the_lamps_side():
    basis, look = load_basis(), bare(sample_look(np.random.default_rng(18)))
    left, right = (drawn(basis.mean, look, lamp((s, 0.1, 0.3)))[..., :3].sum(2) for s in (-1, 1))
    assert left[:, :128].sum() > 1.5 * left[:, 128:].sum()
    assert right[:, 128:].sum() > 1.5 * right[:, :128].sum()
