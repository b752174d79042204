"""Averages over views: what a view moves comes back to its pixels, and only slices that may be are mirrored."""

import numpy as np
import pytest

from xai.views import VIEWS, View, averaged

SIDE = 64


def slices(count: int) -> np.ndarray:
    """Smooth blobs, each left of the middle."""
    rows, columns = np.indices((SIDE, SIDE))
    return np.stack([200 * np.exp(-((rows - 24 - number) ** 2 + (columns - 20) ** 2) / 60) for number in range(count)]).astype(np.float32)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_view_undone_is_the_slice(view):
    pictures = slices(3)
    back = view.undone(view.of(pictures))
    assert np.abs(back - pictures).max() < 8, "two interpolations of a smooth picture of 0 to 200"
    assert view == View() or np.abs(view.of(pictures) - pictures).max() > 20


def test_views_do_what_their_names_say():
    picture = slices(1)
    assert np.array_equal(View(mirrored=True).of(picture), picture[:, :, ::-1])
    halved = View(zoom=0.5).of(picture)
    assert halved.sum() == pytest.approx(picture.sum() / 4, rel=0.02)
    quarter = View(degrees=90).of(picture)
    np.testing.assert_allclose(quarter[0], np.rot90(picture[0]), atol=1e-2)


def test_masks_come_back_to_their_pixels_and_classes_are_averaged():
    """A mask head that answers with the grey values it sees gives, averaged, the slice; the classes count the calls."""
    calls = []

    def answer(images):
        calls.append(images)
        return {"classification": np.full((len(images), 3), len(calls), float), "segmentation": images / 255}

    pictures = slices(2)
    found = averaged(answer, pictures, np.array([True, False]))
    assert len(calls) == len(VIEWS) and np.array_equal(calls[0], pictures)
    np.testing.assert_allclose(found["classification"], np.mean(np.arange(1, len(VIEWS) + 1)))
    np.testing.assert_allclose(found["segmentation"], pictures / 255, atol=0.03)
    mirrored = calls[VIEWS.index(View(mirrored=True))]
    assert np.array_equal(mirrored[0], pictures[0, :, ::-1]) and np.array_equal(mirrored[1], pictures[1])


def test_a_pixel_that_some_views_cut_off_is_averaged_over_the_others():
    """A mask head that is certain everywhere is certain in every corner."""
    found = averaged(lambda images: {"segmentation": np.ones_like(images)}, slices(1), np.array([True]))
    assert set(found) == {"segmentation"}
    np.testing.assert_allclose(found["segmentation"], 1, atol=1e-6)
