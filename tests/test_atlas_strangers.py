"""The check for heads: strangers of every kind, a check learned from them, and the shipped one on pictures that it never saw."""

import json

import numpy as np
import pytest
from scipy import ndimage

from xai import atlas_strangers, atlas_training
from xai.atlas_reading import PIXELS, read
from xai.atlas_strangers import dead_leaves, head_slices, outline, power_law_noise, rings, scrambled, stranger, train_head_check, waves
from xai.atlas_synthesis import Head
from xai.data.phantom_canvas import LOWER_MM
from xai.data.phantom_head import load_head


@pytest.fixture(scope="module")
def head() -> Head:
    """The phantom's head, which nothing was trained on."""
    phantom = load_head()
    signal = ndimage.gaussian_filter(phantom.signal, 1.0)[::2, ::2, ::2]
    brain = (phantom.brain > 0).astype(np.float32)
    return Head("phantom", signal / np.median(signal[brain > 0]), brain, LOWER_MM, 2.0)


@pytest.fixture(scope="module")
def slices(head) -> np.ndarray:
    return head_slices([head], 60, [3])[0]


@pytest.mark.parametrize("kind", [power_law_noise, dead_leaves, waves, rings])
def test_textures_fill_the_picture_and_depend_on_the_seed_alone(kind):
    one, other, another = (kind(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (PIXELS, PIXELS) and one.min() >= -1e-6 and one.max() <= 1 + 1e-6 and np.ptp(one) > 0.2
    assert np.array_equal(one, other) and not np.array_equal(one, another)


def test_noise_of_a_power_law_falls_with_frequency():
    slopes = []
    for seed in range(20):
        power = np.abs(np.fft.rfft2(power_law_noise(np.random.default_rng(seed)))) ** 2
        slopes.append(np.log(power[1:4, 1:4].mean() / power[30:34, 30:34].mean()))
    assert np.min(slopes) > 0


def test_outlines_are_about_as_large_as_heads():
    shares = [(outline(np.random.default_rng(seed)) < 1).mean() for seed in range(40)]
    assert min(shares) > 0.1 and max(shares) < 0.95 and np.std(shares) > 0.05


def test_scrambled_heads_keep_what_they_should_and_nothing_else(slices):
    """Tiles are those of the head in another order; the rest keeps its outline or its grey values, never the picture."""
    kinds = {}
    for seed in range(40):
        generator = np.random.default_rng(seed)
        kind = int(np.random.default_rng(seed).integers(4))
        kinds[kind] = scrambled(generator, slices[0])
        assert kinds[kind].shape == slices[0].shape and np.isfinite(kinds[kind]).all()
        assert np.corrcoef(kinds[kind].ravel(), slices[0].ravel())[0, 1] < 0.95
    assert set(kinds) == {0, 1, 2, 3}
    np.testing.assert_allclose(np.sort(kinds[1].ravel()), np.sort(slices[0].ravel()))


def test_slices_of_heads_show_brain(head, monkeypatch):
    seen = []
    draw = atlas_strangers.draw_slices
    monkeypatch.setattr(atlas_strangers, "draw_slices", lambda heads, count, seed: seen.append(draw(heads, 40, seed)) or seen[-1])
    kept, known = head_slices([head], 50, [1])
    assert kept.shape == known.shape == (50, PIXELS, PIXELS) and set(np.unique(known)) == {0, 1}
    usable = (seen[0].plane >= 0) & (seen[0].brain.sum(axis=(1, 2)) >= atlas_strangers.LEAST_BRAIN)
    assert np.array_equal(kept[0], seen[0].pictures[usable][0]) and np.array_equal(known[0], seen[0].known[usable][0]) and len(seen) > 1
    brain = np.concatenate([part.brain.sum(axis=(1, 2)) for part in seen])
    assert (brain < atlas_strangers.LEAST_BRAIN).any(), "some were left out"


def test_a_check_learned_from_few_tells_others(head, slices):
    from xai.atlas_reading import _weights, as_input, forward

    check = train_head_check(_weights(), [head], count=40, seed=1)
    assert check["kernel_head"].shape == (224,) and check["bias_head"].shape == (1,)
    generator = np.random.default_rng(9)
    others = [stranger(generator, slices[number]) for number in range(40)]
    odds = [forward(_weights(), as_input(picture[None])[0])[2] @ check["kernel_head"] + check["bias_head"][0] for picture in [*slices[:40], *others]]
    assert np.mean((np.array(odds) > 0) == np.repeat([True, False], 40)) > 0.85


def test_the_shipped_check_knows_heads_it_never_saw(slices):
    """The limit itself is tested where places are: here, that both kinds lie far apart."""
    generator = np.random.default_rng(21)
    heads = [read(picture).head_log_odds for picture in slices]
    others = [read(stranger(generator, slices[number])).head_log_odds for number in range(60)]
    assert np.median(heads) > 2 and np.median(others) < -2
    assert np.mean(np.greater.outer(heads, others)) > 0.98


def test_the_check_is_trained_anew_beside_a_network_that_stays(head, tmp_path, monkeypatch):
    path = tmp_path / "network.npz"
    path.write_bytes(atlas_training.WEIGHTS.read_bytes())
    path.with_suffix(".json").write_bytes(atlas_training.WEIGHTS.with_suffix(".json").read_bytes())
    shipped_record = json.loads(path.with_suffix(".json").read_text())
    monkeypatch.setattr(atlas_training, "training_heads", lambda folder: [head])
    monkeypatch.setattr(atlas_training, "train_head_check", lambda weights, heads, seed: train_head_check(weights, heads, count=8, seed=seed))
    assert atlas_training.main(["--heads", str(tmp_path), "--to", str(path), "--head-check", "--seed", "5"]) == 0
    with np.load(path) as found, np.load(atlas_training.WEIGHTS) as shipped:
        assert set(found.files) == set(shipped.files)
        assert all(np.array_equal(found[name], shipped[name]) == (not name.endswith("_head")) for name in found.files)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["head_check"]["heads"] == ["phantom"] and record["head_check"]["seed"] == 5 and record["slices"] == shipped_record["slices"]
