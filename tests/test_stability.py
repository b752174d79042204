"""Stability of heatmaps: explainers whose score theory gives."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xai.metrics.stability import CHANGES, Change, stability


@pytest.fixture
def images():
    draw = np.random.default_rng(0)
    smooth = gaussian_filter(draw.random((3, 64, 64)), (0, 3, 3))
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return (20 + 200 * (smooth - low) / (high - low)).astype(np.float32)


def test_perfect_and_worst_explainers(images):
    """Following the content scores one under shift and gain; chance scores zero; a map fixed in the frame scores one but under shifts."""
    calls = iter(range(100))

    def maps_of(pictures):
        chance = np.random.default_rng(next(calls)).random(pictures.shape)
        frame = np.broadcast_to(images[0], pictures.shape)
        return {"content": pictures, "chance": chance, "frame": frame, "inverse": -pictures, "constant": np.zeros(pictures.shape)}

    found = stability(maps_of, images)
    assert set(found) == {(name, change.name) for name in ("content", "chance", "frame", "inverse", "constant") for change in CHANGES}
    assert all(values.shape == (3,) for values in found.values())
    for change in CHANGES:
        assert np.abs(found["chance", change.name]).max() < 0.08
        assert found["constant", change.name].tolist() == [0, 0, 0]
        if change.shift:
            assert found["content", change.name] == pytest.approx(1) and found["frame", change.name].max() < 0.999
            assert found["inverse", change.name] == pytest.approx(1)
        else:
            assert found["frame", change.name] == pytest.approx(1)
    assert found["content", "10 % darker"] == pytest.approx(1)
    little, much = (found["content", name].mean() for name in ("noise 2 %", "noise 5 %"))
    assert 1 > little > much > 0.8


def test_changes_by_hand():
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3)
    assert Change("a", shift=0.01).apply(image, seed=0)[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert Change("b", gain=0.5).apply(image, seed=0)[0, 0].tolist() == [0.5, 1, 1.5]
    wide = np.full((2, 200, 200), 128, np.float32)
    noisy = Change("c", noise=0.02).apply(wide, seed=1)
    assert noisy.std() == pytest.approx(255 * 0.02, rel=0.02) and noisy.mean() == pytest.approx(128, abs=0.1)
    assert np.array_equal(noisy, Change("c", noise=0.02).apply(wide, seed=1)) and not np.array_equal(noisy[0], noisy[1])
    assert Change("d", noise=5.0).apply(wide, seed=0).min() == 0 and Change("e", gain=9).apply(wide, seed=0).max() == 255
