"""Tumours of other patients put into a slice: where they come from, where they land, and that nothing else changes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xai.batches import Batches
from xai.transplants import RIM, Transplants, transplant

SIDE = 64


def disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return (np.hypot(rows - row, columns - column) < radius).astype(np.float32)


def slice_with(tumour: np.ndarray, *, brain: float = 100, bright: float = 200) -> np.ndarray:
    """A round head on black, its tumour brighter."""
    image = brain * disc(32, 32, 26)
    return np.where(tumour > 0, bright, image).astype(np.float32)


class Fixed:
    """A generator without chance: no shift, the donor's size."""

    def uniform(self, low, high):
        return 1.0

    def normal(self, mean, sd, size):
        return np.zeros(size)


def test_the_donors_tumour_comes_in_the_slices_own_greys():
    own, other = disc(22, 22, 4), disc(42, 42, 5)
    image = slice_with(own)
    changed, mask = transplant(image, own, slice_with(other, brain=50, bright=100), other, Fixed())
    np.testing.assert_array_equal(mask, np.maximum(own, other))
    assert changed[42, 42] == pytest.approx(200)  # twice the donor's, as the brain around it is
    far = disc(42, 42, 5 + 4 * RIM * SIDE) == 0
    np.testing.assert_allclose(changed[far], image[far], atol=0.5)


@pytest.mark.parametrize(
    "own, other",
    [(disc(32, 32, 6), disc(34, 34, 5)), (disc(32, 32, 4), disc(8, 8, 5)), (disc(32, 32, 4), np.zeros((SIDE, SIDE), np.float32)), (disc(32, 32, 4), disc(32, 57, 5))],
    ids=["on the slice's own", "in the air", "no tumour", "half in the air"],
)
def test_where_it_cannot_lie_nothing_is_done(own, other):
    assert transplant(slice_with(own), own, np.full((SIDE, SIDE), 100, np.float32), other, Fixed()) is None


@pytest.fixture
def dataset():
    """Two patients with gliomas and one with a meningioma, in axial and coronal slices."""
    rows = [("a", "glioma", "axial"), ("a", "glioma", "axial"), ("b", "glioma", "axial"), ("b", "glioma", "coronal"), ("c", "meningioma", "axial")]
    masks = np.stack([disc(*place, 4) for place in ((20, 20), (20, 20), (44, 40), (44, 24), (24, 44))])
    index = pd.DataFrame(rows, columns=["patient", "label", "plane"])
    images = np.stack([slice_with(mask) for mask in masks])
    return SimpleNamespace(index=index, images=images, masks=masks, labels=lambda rows: np.zeros(len(rows), int))


def received(dataset, share: float, rows=None, may_flip: bool = False, seed: int = 0):
    rows = np.arange(5) if rows is None else rows
    images, masks = dataset.images[rows][..., None], dataset.masks[rows][..., None]
    before = images.copy(), masks.copy()
    found = Transplants(dataset, np.arange(5), share)(images, masks, rows, np.full(len(rows), may_flip), np.random.default_rng(seed))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(masks, before[1])
    return found


def test_only_from_another_patient_of_the_same_class_in_the_same_plane(dataset):
    """The coronal slice and the meningioma have no donor; of the others each gets the one that is not its own patient's."""
    for seed in range(8):
        images, masks = received(dataset, 1.0, seed=seed)
        added = (masks[..., 0] > dataset.masks).sum(axis=(1, 2))
        np.testing.assert_array_equal(added > 0, [True, True, True, False, False])
        for row, place in ((0, (44, 40)), (2, (20, 20))):
            middle = np.argwhere(masks[row, ..., 0] > dataset.masks[row]).mean(axis=0)
            assert np.abs(middle - place).max() < 12
        np.testing.assert_array_equal(images[3:, ..., 0], dataset.images[3:])
        assert (images >= 0).all() and (images <= 255).all() and set(np.unique(masks)) == {0, 1}


def test_share(dataset):
    rows = np.tile([0, 2], 200)
    _, masks = received(dataset, 0.3, rows)
    assert 0.22 < (masks[..., 0] > dataset.masks[rows]).any(axis=(1, 2)).mean() < 0.38
    images, _ = received(dataset, 0.0)
    np.testing.assert_array_equal(images[..., 0], dataset.images)


def test_mirrored_where_that_may_be(dataset):
    middles = [np.argwhere(received(dataset, 1.0, np.array([0]), True, seed)[1][0, ..., 0] > dataset.masks[0])[:, 1].mean() for seed in range(12)]
    assert min(middles) < 28 and max(middles) > 36


def test_batches_depend_on_the_seed_alone(dataset):
    def batch(seed):
        transplants = Transplants(dataset, np.arange(5), 0.7)
        batches = Batches(dataset, np.arange(5), batch_size=5, heads=("segmentation",), transplants=transplants, shuffle_seed=seed)
        return batches[0]

    (first, one), (again, _), (other, _) = batch([1, 2]), batch([1, 2]), batch([1, 3])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert one["segmentation"].shape == (5, SIDE, SIDE, 1)


