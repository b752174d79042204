"""Thresholds and clean-up on arrays small enough to check by eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xai.masks import contrast_percentiles, edge_percentiles, half_energy, half_maximum, head_region, otsu, refine, refine_steps, threshold


def drawing(*lines: str) -> np.ndarray:
    """A mask from lines of '#' and '.'."""
    return np.array([[character == "#" for character in line] for line in lines])


# Threshold


def test_percentile_by_hand():
    """Of 0..10 the 70th percentile is 7 (between neighbours linear), the 75th 7.5, the 100th 10."""
    maps = np.arange(11, dtype=np.float32).reshape(1, 1, 11)
    for level, first in ((70, 7), (75, 8), (100, 10), (10, 1), (0, 1)):
        assert threshold(maps, level)[0, 0].tolist() == [False] * first + [True] * (11 - first), level


def test_each_map_has_its_own_percentile():
    ramp = np.arange(11, dtype=np.float32).reshape(1, 11)
    masks = threshold(np.stack([ramp, ramp * 100 + 5, ramp[:, ::-1]]), np.array([90, 50, 80]))
    assert masks.sum(axis=(1, 2)).tolist() == [2, 6, 3]
    assert masks[2, 0].tolist() == [True] * 3 + [False] * 8


def test_plateaus_constants_and_nan():
    """A plateau at the bottom is never tumour; a plateau at the top is wholly tumour; a map without contrast has none."""
    bottom = np.zeros((1, 4, 4), np.float32)
    bottom[0, 0, 0] = 1
    assert threshold(bottom, 50).sum() == 1
    top = np.zeros((1, 4, 4), np.float32)
    top[0, :2] = 1
    assert threshold(top, 90)[0].tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
    for value in (0.0, 0.7, np.nan):
        assert not threshold(np.full((1, 4, 4), value), 90).any()


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, (2, 5, 6), elements=st.floats(0, 1, width=32)), st.integers(1, 99))
def test_masks_shrink_with_the_percentile_and_hold_the_maximum(maps, level):
    lower, higher = threshold(maps, level - 1), threshold(maps, level)
    assert not (higher & ~lower).any()
    for heat, mask in zip(maps, higher):
        if np.ptp(heat) > 0:
            assert mask[heat == heat.max()].all() and not mask[heat == heat.min()].any()
            assert mask.sum() >= (heat >= np.percentile(heat, level)).sum() - (heat == heat.min()).sum()


def test_float16_maps_are_cut_like_float32():
    maps = np.random.default_rng(0).random((3, 40, 40)).astype(np.float16)
    assert np.array_equal(threshold(maps, 93), threshold(maps.astype(np.float32), 93))
    assert threshold(maps, 93).mean() == pytest.approx(0.07, abs=0.005)


def test_otsu_splits_two_levels():
    maps = np.full((2, 6, 6), 0.1, np.float32)
    maps[0, 2:4, 2:5] = 0.8
    masks = otsu(maps)
    assert masks[0].sum() == 6 and masks[0, 2:4, 2:5].all() and not masks[1].any()
    assert not otsu(np.full((1, 6, 6), np.nan)).any()


# The label-free percentile


def scene():
    """A head of 1,600 of 3,600 pixels with a bright tumour of 5 % of the image, where the heat is, too."""
    draw = np.random.default_rng(0)
    image = np.zeros((60, 60))
    image[10:50, 10:50] = 90
    image[20:32, 20:35] = 200  # 180 pixels = 5 % of 3,600
    heat = draw.uniform(0, 0.2, (60, 60))
    heat[20:32, 20:35] += 0.75
    return heat.astype(np.float32), image.astype(np.uint8)


def test_head_is_filled_and_without_background():
    _, image = scene()
    image[25:28, 40:43] = 0  # a ventricle
    head = head_region(image[None])[0]
    assert head[10:50, 10:50].all() and head.sum() == 1600
    assert not head_region(np.zeros((1, 8, 8), np.uint8)).any()


def test_contrast_percentile_finds_the_tumour():
    heat, image = scene()
    candidates = np.arange(70, 100)
    assert contrast_percentiles(heat[None], image[None], candidates) == [95]
    mask = threshold(heat[None], 95.0)[0]
    assert np.array_equal(mask, image == 200)


def test_contrast_percentile_ties_go_to_the_lower():
    """Heat of two levels alone gives one and the same mask from the 70th to the 95th percentile."""
    heat, image = scene()
    flat = (heat > 0.5).astype(np.float32)
    assert contrast_percentiles(flat[None], image[None], np.arange(70, 96)) == [70]
    assert contrast_percentiles(np.zeros((1, 60, 60)), image[None], np.arange(70, 96)) == [70]


def literal_contrast(heat, image, candidates) -> float:
    """The docstring's formula, pixel set by pixel set."""
    head = head_region(image[None])[0]
    best, winner = -1.0, None
    for level in candidates:
        mask = (heat >= np.percentile(heat, level)) & (heat > heat.min()) & head
        rest = head & ~mask
        if mask.any() and rest.any():
            w1, w2 = mask.sum() / head.sum(), rest.sum() / head.sum()
            separation = w1 * w2 * (heat[mask].mean() - heat[rest].mean()) ** 2 / heat[head].var()
            contrast = abs(image[mask].mean() - image[rest].mean()) / image[head].std()
            if separation * contrast > best + 1e-9:
                best, winner = separation * contrast, level
    return winner


def test_contrast_percentile_against_the_formula_written_out():
    from scipy.ndimage import gaussian_filter

    draw = np.random.default_rng(4)
    heats = np.stack([gaussian_filter(draw.random((32, 32)), 3) for _ in range(8)]).astype(np.float32)
    images = np.clip(120 + 400 * (np.stack([gaussian_filter(draw.random((32, 32)), 2) for _ in range(8)]) - 0.5), 1, 255).astype(np.uint8)
    images[:, :4] = 0
    candidates = np.arange(60, 100, 3)
    expected = [literal_contrast(heat.astype(float), image.astype(float), candidates) for heat, image in zip(heats, images)]
    assert len(set(expected)) > 2, "the cases are all alike"
    assert contrast_percentiles(heats, images, candidates).tolist() == expected


def test_edge_percentile_runs_along_the_strongest_edge():
    """Heat that falls off evenly from the tumour's middle: only one percentile gives an outline on the square's border."""
    image = np.full((41, 41), 50, np.uint8)
    image[14:27, 14:27] = 200  # 13 x 13 of 1,681 pixels: the hottest 10.05 %
    rows, columns = np.indices((41, 41))
    heat = 20.0 - np.maximum(abs(rows - 20), abs(columns - 20))
    candidates = np.arange(70, 100)
    [level] = edge_percentiles(heat[None], image[None], candidates)
    assert np.array_equal(threshold(heat[None], level)[0], image == 200)
    assert edge_percentiles(np.zeros((1, 41, 41)), image[None], candidates) == [70]


def test_half_maximum_and_half_energy_by_hand():
    """Heat 8, 4, 2, 1, 1 above a floor of 0: half the maximum is 4; 8 is half of 16; with a floor, heat counts from the floor."""
    heat = np.array([[[8, 4, 2, 1, 1, 0]]], np.float32)
    assert half_maximum(heat)[0, 0].tolist() == [True, True, False, False, False, False]
    assert half_energy(heat)[0, 0].tolist() == [True, False, False, False, False, False]
    assert np.array_equal(half_maximum(heat + 10), half_maximum(heat)) and np.array_equal(half_energy(heat * 3 + 1), half_energy(heat))
    heat[0, 0, 0] = 7  # 7 of 15 is too little
    assert half_energy(heat)[0, 0].tolist() == [True, True, False, False, False, False]
    for value in (0.0, 0.7, np.nan):
        assert not half_maximum(np.full((1, 3, 3), value)).any() and not half_energy(np.full((1, 3, 3), value)).any()


# Clean-up


def test_refine_steps_by_hand():
    """Opening takes the single pixel and the thin line; the hotter of two blocks stays; its hole is filled."""
    mask = drawing(
        "..............",
        ".#####....###.",
        ".#####....###.",
        ".#####....###.",
        ".#####........",
        ".#####......#.",
        "..............",
        ".##########...",
        "..............",
    )  # fmt: skip
    heat = np.where(mask, 0.1, 0.0)
    heat[1:4, 10:13] = 0.9  # 9 x 0.9 against 21 x 0.1
    steps = refine_steps(mask, heat)
    assert np.array_equal(steps["opened"], drawing(
        "..............",
        "..###......#..",
        ".#####....###.",
        ".#####.....#..",
        ".#####........",
        "..###.........",
        "..............",
        "..............",
        "..............",
    ))  # fmt: skip
    assert np.array_equal(steps["component"], drawing(*[".............."], "...........#..", "..........###.", "...........#..", *[".............."] * 5))
    assert np.array_equal(steps["filled"], steps["component"])


def test_holes_are_filled_and_diagonal_neighbours_belong_together():
    mask = drawing(
        ".......",
        ".####..",
        ".#..#..",
        ".#..#..",
        ".####..",
        ".....#.",
        "#......",
    )  # fmt: skip
    steps = refine_steps(mask, mask.astype(float), opening_radius=0)
    assert np.array_equal(steps["opened"], mask)
    assert np.array_equal(steps["component"], mask & (np.arange(7)[:, None] < 6))
    assert steps["filled"].sum() == 12 + 4 + 1 and steps["filled"][2:4, 2:4].all() and steps["filled"][5, 5]


def test_component_is_chosen_by_heat_and_not_by_area():
    mask = drawing("####.#", "####.#")
    heat = np.where(np.arange(6) == 5, 1.0, 0.2) * np.ones((2, 1))
    assert refine(mask[None], heat[None], opening_radius=0)[0].tolist() == [[False] * 5 + [True]] * 2
    assert refine(mask[None], np.full((1, 2, 6), 0.3), opening_radius=0)[0].tolist() == [[True] * 4 + [False] * 2] * 2


def test_opening_that_would_remove_everything_is_skipped():
    thin = drawing(".....", "####.", ".....")
    assert np.array_equal(refine(thin[None], thin[None].astype(float))[0], thin)
    empty = np.zeros((1, 5, 5), bool)
    assert not refine(empty, empty.astype(float)).any()


@settings(deadline=None, max_examples=40)
@given(arrays(bool, (1, 12, 12)), st.integers(0, 2))
def test_refined_mask_is_one_piece_without_holes(mask, radius):
    from skimage.measure import euler_number, label

    clean = refine(mask, mask.astype(float), opening_radius=radius)[0]
    assert clean.any() == mask.any()
    if clean.any():
        assert label(clean, connectivity=2).max() == 1
        # An 8-connected piece has 1 - holes; holes are then 4-connected background.
        assert euler_number(clean, connectivity=2) == 1
