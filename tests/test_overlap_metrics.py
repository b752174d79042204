"""Overlap scores by hand counts, by set arithmetic and by brute-force distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from xai.metrics import overlap
from xai.metrics.overlap import dice, energy_inside, hd95, iou, pointing_game, precision, recall

masks = arrays(np.uint8, (3, 9, 9), elements=st.integers(0, 1))


def square(top, left, side, size=12):
    mask = np.zeros((1, size, size), np.uint8)
    mask[0, top : top + side, left : left + side] = 1
    return mask


def test_two_shifted_squares_by_hand():
    one, other = square(2, 2, 4), square(4, 2, 4)  # 16 pixels each, 8 shared
    assert dice(one, other) == pytest.approx([0.5])
    assert iou(one, other) == pytest.approx([8 / 24])
    assert precision(one, other) == pytest.approx([0.5])
    assert recall(square(2, 2, 2), other) == pytest.approx([0.0])
    assert recall(square(4, 2, 2), other) == pytest.approx([4 / 16])
    assert precision(square(4, 2, 2), other) == pytest.approx([1.0])


def test_empty_mask_conventions():
    empty, full = np.zeros((1, 6, 6)), np.ones((1, 6, 6))
    for score in (dice, iou, precision, recall):
        assert score(empty, empty) == [1.0]
        assert score(empty, full) == [0.0]
        assert score(full, empty) == [0.0]
    assert hd95(empty, empty) == [0.0]
    assert hd95(empty, full) == hd95(full, empty) == pytest.approx([6 * np.sqrt(2)])


@given(masks, masks)
def test_scores_are_set_arithmetic(predicted, truth):
    for number in range(len(predicted)):
        ours = set(map(tuple, np.argwhere(predicted[number])))
        theirs = set(map(tuple, np.argwhere(truth[number])))
        if ours and theirs:
            shared = len(ours & theirs)
            assert dice(predicted, truth)[number] == pytest.approx(2 * shared / (len(ours) + len(theirs)))
            assert iou(predicted, truth)[number] == pytest.approx(shared / len(ours | theirs))
            assert precision(predicted, truth)[number] == pytest.approx(shared / len(ours))
            assert recall(predicted, truth)[number] == pytest.approx(shared / len(theirs))


@given(masks, masks)
def test_dice_and_iou_are_one_another(predicted, truth):
    union_score = iou(predicted, truth)
    assert dice(predicted, truth) == pytest.approx(2 * union_score / (1 + union_score))


def test_scores_do_not_overflow_small_integers():
    full = np.ones((1, 300, 300), np.uint8)
    assert dice(full, full) == [1.0] and precision(full, full) == [1.0]


def brute_hd95(one, other):
    def outline(mask):
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner)

    distances = cdist(outline(one), outline(other))
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@given(masks, masks)
@settings(deadline=None)
def test_hd95_equals_brute_force(predicted, truth):
    found = hd95(predicted, truth)
    for number in range(len(predicted)):
        if predicted[number].any() and truth[number].any():
            assert found[number] == pytest.approx(brute_hd95(predicted[number] > 0, truth[number] > 0))
    assert hd95(truth, predicted) == pytest.approx(found)


def test_hd95_of_points_is_their_distance():
    assert hd95(square(1, 1, 1), square(4, 5, 1)) == pytest.approx([5.0])
    assert hd95(square(3, 3, 5), square(3, 3, 5)) == [0.0]


def test_pointing_game():
    mask = square(2, 2, 4)
    heatmap = np.zeros(mask.shape)
    heatmap[0, 3, 3] = 1
    assert pointing_game(heatmap, mask) == [1.0]
    heatmap[0, 3, 3], heatmap[0, 8, 3] = 0, 1  # 3 pixels below the square's last row 5
    assert pointing_game(heatmap, mask) == [0.0]
    assert pointing_game(heatmap, mask, tolerance_pixels=2.9) == [0.0]
    assert pointing_game(heatmap, mask, tolerance_pixels=3) == [1.0]
    heatmap[0, 3, 3] = 1  # two maxima, one inside
    assert pointing_game(heatmap, mask) == [0.5]
    assert pointing_game(np.zeros(mask.shape), mask) == pytest.approx([16 / 144])
    assert pointing_game(heatmap, np.zeros_like(mask), tolerance_pixels=5) == [0.0]


def test_energy_inside():
    mask = square(0, 0, 6)
    heatmap = np.full(mask.shape, 0.5, np.float16)
    assert energy_inside(heatmap, mask) == pytest.approx([36 / 144])
    assert energy_inside(heatmap * mask, mask) == [1.0]
    assert energy_inside(heatmap * 0, mask) == [0.0]
    large = np.ones((1, 300, 300), np.float16)  # its sum, 90,000, is beyond float16
    assert energy_inside(large, large) == [1.0]


def test_bad_shapes_and_values_are_named():
    with pytest.raises(ValueError, match=r"\(1, 12, 12\) and \(1, 6, 6\)"):
        dice(square(1, 1, 1), np.zeros((1, 6, 6)))
    with pytest.raises(ValueError, match="not finite"):
        energy_inside(np.full((1, 12, 12), np.nan), square(1, 1, 2))
    with pytest.raises(ValueError, match="at least one training mask"):
        overlap.mean_mask_prior(np.zeros((0, 4, 4)), 2)


def test_baselines_show_what_they_are_made_of():
    images = np.zeros((2, 32, 32), np.uint8)
    images[:, :, 16:] = 100  # one vertical edge between columns 15 and 16
    images[1, 5, 5] = 250
    train = np.concatenate([square(4, 4, 4, 32), square(4, 4, 8, 32)])
    maps = overlap.baselines(images, train, seed=3)
    assert list(maps) == ["random", "centre", "mean mask", "edges", "intensity"]
    for name, heatmaps in maps.items():
        assert heatmaps.shape == images.shape and heatmaps.min() >= 0 and heatmaps.max() == 1, name
    assert set(np.unravel_index(maps["centre"][0].argmax(), (32, 32))) <= {15, 16}
    sigma = 32 / 4
    assert maps["centre"][0][15, 23] / maps["centre"][0][15, 15] == pytest.approx(np.exp(-(7.5**2 - 0.5**2) / 2 / sigma**2))
    assert maps["edges"][0].argmax() % 32 in (15, 16) and maps["edges"][0][:, :8].max() == 0
    assert maps["intensity"][1].argmax() == 5 * 32 + 5 and maps["intensity"][1][0, 20] == pytest.approx(100 / 250)
    assert maps["mean mask"][1][5, 5] == 1 and maps["mean mask"][1][10, 10] == 0.5 and maps["mean mask"][1][20, 20] == 0


def test_random_heatmaps_are_seeded_and_uniform():
    one = overlap.random_heatmaps((4, 50, 50), seed=1)
    assert (one == overlap.random_heatmaps((4, 50, 50), seed=1)).all()
    assert (one != overlap.random_heatmaps((4, 50, 50), seed=2)).any()
    assert np.quantile(one, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)
    smooth = overlap.random_heatmaps((4, 50, 50), seed=1, smoothing_pixels=4)
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(one, axis=1)).mean() / 4
    # a noise map's expected energy inside is the mask's share of the image
    mask = np.repeat(square(0, 0, 25, 50), 4, axis=0)
    assert energy_inside(one, mask) == pytest.approx(0.25, abs=0.02)
