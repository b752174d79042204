"""Pieces of a slice: what they hold, what they leave out, and what painting one over leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk as circle

from xai import pieces as p


def head(side: int = 160, *, seed: int = 0) -> np.ndarray:
    """A grey head with a little texture on black."""
    image = np.zeros((side, side), np.float32)
    rows, columns = np.indices(image.shape)
    inside = ((rows - side / 2) / (0.42 * side)) ** 2 + ((columns - side / 2) / (0.36 * side)) ** 2 < 1
    image[inside] = 90 + np.random.default_rng(seed).normal(0, 4, int(inside.sum()))
    return image


def spot(side: int, row: float, column: float, radius: float) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[circle((row * side, column * side), radius * side)] = True
    return mask


def best(found: np.ndarray, mask: np.ndarray) -> float:
    return max(((piece & mask).sum() / (piece | mask).sum() for piece in found), default=0.0)


@pytest.mark.parametrize("side", [64, 160, 256])
@pytest.mark.parametrize("grey", [200, 30])
def test_a_spot_brighter_or_darker_than_the_head_is_a_piece_at_any_size_of_the_picture(side, grey):
    image, mask = head(side), spot(side, 0.45, 0.6, 0.09)
    image[mask] = grey
    assert best(p.pieces(image), mask) > 0.8


def test_a_bright_ring_is_a_piece_with_its_inside():
    image, whole = head(), spot(160, 0.5, 0.4, 0.12)
    image[whole] = 220
    image[spot(160, 0.5, 0.4, 0.08)] = 40
    assert best(p.pieces(image), whole) > 0.85


def test_pieces_are_of_stated_size_and_no_two_alike_from_large_to_small():
    image = head()
    for row, column, radius, grey in ((0.4, 0.4, 0.05, 180), (0.6, 0.6, 0.1, 220), (0.45, 0.65, 0.04, 20)):
        image[spot(160, row, column, radius)] = grey
    found = p.pieces(image)
    areas = found.mean(axis=(1, 2))
    assert len(found) > 3 and (np.diff(areas) <= 0).all() and areas.max() <= p.LARGEST and areas.min() >= p.SMALLEST
    for number, one in enumerate(found):
        for other in found[:number]:
            assert (one & other).sum() / (one | other).sum() < p.ALIKE


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((64, 64), 7.0)])
def test_a_picture_without_contrast_has_no_pieces(image):
    found = p.pieces(image)
    assert found.shape == (0, 64, 64) and p.prominence(image, found).shape == (0,)


def test_likeness_in_boxes_is_that_of_whole_masks():
    image = head()
    image[spot(160, 0.5, 0.5, 0.1)] = 200
    cut = [(int(a.sum()), (slice(r.min(), r.max() + 1), slice(c.min(), c.max() + 1)), a) for a in p.pieces(image) for r, c in [np.nonzero(a)]]
    for area, box, mask in cut:
        for other_area, other_box, other in cut:
            true = (mask & other).sum() / (mask | other).sum()
            told = p._likeness(area, box, mask[box], other_area, other_box, other[other_box])
            assert told == pytest.approx(true) or (told == 0 and true < p.ALIKE)


def test_a_bright_round_piece_inside_stands_out_most():
    image = head()
    masks = {"bright": spot(160, 0.5, 0.5, 0.08), "dark": spot(160, 0.5, 0.3, 0.08), "faint": spot(160, 0.5, 0.7, 0.08)}
    for mask, grey in zip(masks.values(), (220, 0, 105)):
        image[mask] = grey
    at_the_edge = np.roll(masks["bright"], int(0.36 * 160), axis=1) & (image > 0)
    image[at_the_edge] = 220
    bright, dark, faint, edge = p.prominence(image, np.stack([*masks.values(), at_the_edge]))
    assert bright > 2 * dark > 0 and bright > 2 * faint and bright > 5 * edge
    flat = p.prominence(head(), masks["bright"][None])
    assert flat[0] < 0.05 * bright


def test_roundness_counts():
    image, long = head(), np.zeros((160, 160), bool)
    disk = spot(160, 0.4, 0.5, 0.06)
    long[100 : 100 + 4, 50 : 50 + int(disk.sum() / 4)] = True
    image[disk | long] = 200
    round_one, flat_one = p.prominence(image, np.stack([disk, long]))
    assert round_one > 1.5 * flat_one


def test_painting_over_leaves_the_surroundings_grey_and_all_else_as_it_was():
    image, mask = head(), spot(160, 0.5, 0.5, 0.08)
    image[mask] = 230
    painted = p.without(image, mask)
    far = ~spot(160, 0.5, 0.5, 0.08 + 8 / 160)
    np.testing.assert_allclose(painted[far], image[far], atol=1e-3)
    assert abs(painted[mask].mean() - 90) < 3 and painted[mask].std() < 4
    assert image[mask].min() == 230, "the slice itself is not touched"


def test_a_piece_that_fills_the_picture_is_painted_with_its_mean():
    image = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(p.without(image, np.ones((4, 4), bool)), 7.5)
