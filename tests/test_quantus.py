"""Our metrics against Quantus (Hedström et al. 2023), where it measures the same quantity: an implementation that is not ours."""

import numpy as np
import pytest
import quantus
from quantus.functions.similarity_func import correlation_spearman
from quantus.functions.similarity_func import ssim as quantus_ssim

from xai.metrics.faithfulness import insertion_deletion, rank_similarity, ssim
from xai.metrics.overlap import energy_inside, pointing_game

COUNT, SIZE, STEPS = 6, 24, 16  # steps of equal size: 24 x 24 pixels in 16 steps of 36
QUIET = {"disable_warnings": True, "display_progressbar": False}


@pytest.fixture
def cases():
    """Images, heatmaps without ties, and tumours of a few sizes, one of them under the heatmap's maximum."""
    draw = np.random.default_rng(11)
    images = draw.integers(1, 256, (COUNT, SIZE, SIZE)).astype(np.float32)
    images[:, -1, -1] = 0  # "black" is there the image's own minimum
    heatmaps = draw.permuted(np.linspace(0, 1, COUNT * SIZE * SIZE).reshape(COUNT, SIZE, SIZE), axis=None).astype(np.float64)
    masks = np.zeros((COUNT, SIZE, SIZE), bool)
    for number in range(COUNT):
        row, column = np.unravel_index(heatmaps[number].argmax(), (SIZE, SIZE)) if number % 2 else (12, 12)
        masks[number, max(0, row - 2 - number) : row + 3, max(0, column - 4) : column + 2 + number] = True
    return images, heatmaps, masks


class Sees:
    """A network without a framework: the probability of class 0 is the mean brightness of the upper left quarter."""

    def predict(self, images):
        seen = np.asarray(images).reshape(-1, SIZE, SIZE)[:, : SIZE // 2, : SIZE // 2].mean(axis=(1, 2)) / 255
        return np.stack([seen, 1 - seen], axis=1)

    def shape_input(self, images, *_, **__):
        return images


def of_quantus(metric, images, heatmaps, masks=None, model=None):
    """Scores of a Quantus metric, which reads pictures with a channel axis in second place."""
    batch = {"x_batch": images[:, None], "y_batch": np.zeros(len(images), int), "a_batch": heatmaps[:, None]}
    if masks is not None:
        batch["s_batch"] = masks[:, None]
    return np.asarray(metric.evaluate_batch(model=model, **batch), float)


def test_pointing_game(cases):
    images, heatmaps, masks = cases
    theirs = of_quantus(quantus.PointingGame(weighted=False, abs=False, normalise=False, **QUIET), images, heatmaps, masks)
    assert pointing_game(heatmaps, masks) == pytest.approx(theirs)
    assert 0 < theirs.sum() < COUNT, "hits and misses, or nothing is compared"


def test_energy_inside_is_the_relevance_mass_accuracy(cases):
    images, heatmaps, masks = cases
    theirs = of_quantus(quantus.RelevanceMassAccuracy(abs=False, normalise=False, **QUIET), images, heatmaps, masks)
    assert energy_inside(heatmaps, masks) == pytest.approx(theirs)
    assert np.ptp(theirs) > 0.01


def test_deletion_is_pixel_flipping_to_black(cases):
    images, heatmaps, _ = cases
    model, classes = Sees(), np.zeros(COUNT, int)
    flipping = quantus.PixelFlipping(features_in_step=SIZE * SIZE // STEPS, perturb_baseline="black", abs=False, normalise=False, **QUIET)
    theirs = of_quantus(flipping, images, heatmaps, model=model)
    ours = insertion_deletion(model.predict, images, heatmaps, classes, steps=STEPS)
    assert ours.deletion[:, 0] == pytest.approx(model.predict(images)[:, 0])  # theirs begins after the first step
    assert ours.deletion[:, 1:] == pytest.approx(theirs.reshape(COUNT, STEPS), abs=1e-6)


def test_likeness_of_heatmaps(cases):
    _, heatmaps, _ = cases
    others = 0.7 * heatmaps + 0.3 * heatmaps[::-1]
    ranks = [correlation_spearman(one.ravel(), other.ravel()) for one, other in zip(heatmaps, others)]
    assert rank_similarity(heatmaps, others) == pytest.approx(ranks)
    for one, other in zip(heatmaps, others):
        one, other = ((values - values.min()) / np.ptp(values) for values in (one, other))
        assert ssim(one[None], other[None]) == pytest.approx([quantus_ssim(one, other)])
