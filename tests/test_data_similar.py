"""Perceptual hashes: the published definition bit by bit, copies near, strangers far, groups as an independent search finds them."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, rotate
from scipy.spatial.distance import pdist, squareform

from xai.data import similar
from xai.data.similar import SAME_SERIES, SAME_SLICE, cluster, near_duplicates, perceptual_hashes


def head(number: int, height: int = 192, width: int = 192) -> np.ndarray:
    """A head-like slice that no other number resembles: smooth structure inside an ellipse; uint8 (height, width)."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    texture = np.zeros((height, width))
    for blobs in (4, 8, 16):
        coarse = Image.fromarray(generator.normal(size=(blobs, blobs)).astype(np.float32))
        texture += np.asarray(coarse.resize((width, height), Image.BICUBIC)) / np.sqrt(blobs)
    inside = (rows / generator.uniform(0.7, 0.9)) ** 2 + (columns / generator.uniform(0.55, 0.8)) ** 2 < 1
    return np.where(inside, np.clip(120 + 60 * texture, 30, 255), 0).astype(np.uint8)


def _saved_again(image: np.ndarray, quality: int, size: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).resize((size, size), Image.BICUBIC).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("L"))


def _bits(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes.view(np.uint8), axis=1)


def _matrix(hashes: np.ndarray) -> np.ndarray:
    """All distances in bits, by scipy on unpacked bits."""
    return np.rint(squareform(pdist(_bits(hashes).astype(float), "hamming")) * _bits(hashes).shape[1]).astype(int)


def _groups(distance: np.ndarray, limit: int) -> list[int]:
    """Groups by walking from each slice to all it can reach, numbered in order of appearance."""
    group = [-1] * len(distance)
    for start in range(len(distance)):
        if group[start] < 0:
            number, stack = max(group) + 1, [start]
            while stack:
                node = stack.pop()
                if group[node] < 0:
                    group[node] = number
                    stack.extend(other for other in range(len(distance)) if distance[node][other] <= limit)
    return group


def test_a_hash_is_the_median_of_the_low_frequencies():
    """At 96 x 96 px nothing is resampled, so that the bits follow from the cosine transform alone."""
    image = head(3, 96, 96)
    low = dctn(image.astype(float))[:24, :24]
    hashes = perceptual_hashes([image])
    assert hashes.shape == (1, 9) and hashes.dtype == np.uint64
    assert np.array_equal(_bits(hashes)[0].reshape(24, 24), low > np.median(low))
    assert _bits(hashes).sum() == 288, "half of the frequencies lie above their median"


def test_hashing_streams():
    """Only hashes are kept: a thousand slices pass through the memory of a few."""
    image = head(0, 256, 256)
    perceptual_hashes([image])
    tracemalloc.start()
    hashes = perceptual_hashes(image.copy() for _ in range(200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(hashes) == 200 and peak < 20 * image.nbytes
    assert perceptual_hashes(iter([])).shape == (0, 9)


@pytest.mark.parametrize("wrong", [np.zeros((40, 40), np.float32), np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), bool)])
def test_what_is_no_grey_slice_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W\)"):
        perceptual_hashes([wrong])


def test_copies_are_near_strangers_far():
    images = [head(number) for number in range(12)]
    original = perceptual_hashes(images)
    copies = {
        "fine JPEG, larger": [_saved_again(image, 75, 512) for image in images],
        "coarse JPEG, smaller": [_saved_again(image, 50, 128) for image in images],
        "other greys": [(255 * (image / 255) ** 0.8).astype(np.uint8) for image in images],
    }
    for kind, changed in copies.items():
        distance = (_bits(perceptual_hashes(changed)) != _bits(original)).sum(axis=1)
        assert distance.max() <= SAME_SLICE, kind
    turned = [rotate(image, 3, reshape=False, order=1) for image in images]
    distance = (_bits(perceptual_hashes(turned)) != _bits(original)).sum(axis=1)
    assert SAME_SLICE < np.median(distance) and distance.max() <= SAME_SERIES, "a neighbour is no copy, but of the series"
    strangers = _matrix(original)[np.triu_indices(12, 1)]
    assert strangers.min() > 1.5 * SAME_SERIES
    mirrored = (_bits(perceptual_hashes([image[:, ::-1] for image in images])) != _bits(original)).sum(axis=1)
    assert mirrored.min() > SAME_SERIES, "the stated limit: a mirrored copy is not found"


def test_a_series_becomes_one_group():
    """Slices that drift from one head into another chain into one group; the two ends alone are strangers."""
    first, last = head(1).astype(float), head(2).astype(float)
    series = [gaussian_filter(first + (last - first) * step, 1).astype(np.uint8) for step in np.linspace(0, 1, 25)]
    hashes = perceptual_hashes([head(7), *series, head(8)])
    assert cluster(hashes).tolist() == [0] + [1] * 25 + [2]
    assert cluster(hashes[[0, 1, -2, -1]]).tolist() == [0, 1, 2, 3]


def _hashes(bits: list[list[int]]) -> np.ndarray:
    """Hashes of 128 bits with those bits set that are named."""
    table = np.zeros((len(bits), 128), dtype=np.uint8)
    for row, places in enumerate(bits):
        table[row, places] = 1
    return np.packbits(table, axis=1).view(np.uint64)


def test_pairs_and_distances_by_hand():
    hashes = _hashes([[], [0, 127], [5], [0, 1, 2, 3, 63, 64], [5]])
    pairs, distance = near_duplicates(hashes, 2)
    assert pairs.tolist() == [[2, 4], [0, 2], [0, 4], [0, 1]] and distance.tolist() == [0, 1, 1, 2]
    pairs, distance = near_duplicates(hashes, 0)
    assert pairs.tolist() == [[2, 4]] and distance.tolist() == [0]
    assert cluster(hashes, 0).tolist() == [0, 1, 2, 3, 2]
    assert cluster(hashes, 2).tolist() == [0, 0, 0, 1, 0]
    # 1 and 3 share bit 0 alone: 127 against 1, 2, 3, 63, 64.
    assert cluster(hashes[[1, 3]], 5).tolist() == [0, 1] and cluster(hashes[[1, 3]], 6).tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    pairs, distance = near_duplicates(_hashes([[]] * count), 128)
    assert pairs.shape == (0, 2) and distance.shape == (0,)
    assert cluster(_hashes([[]] * count), 128).tolist() == [0] * count


@given(
    table=st.integers(1, 40).flatmap(lambda rows: arrays.arrays(np.uint64, (rows, 1), elements=st.integers(0, 2**12 - 1))),
    limit=st.integers(0, 6), tile=st.sampled_from([1, 3, 7, 1024]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_pairs_and_groups_are_those_of_an_exhaustive_search(table, limit, tile, seed):
    """Whatever the hashes, the distance, the order of rows, and where the tiles are cut."""
    whole, similar.TILE = similar.TILE, tile
    try:
        pairs, distance = near_duplicates(table, limit)
        groups = cluster(table, limit)
        order = np.random.default_rng(seed).permutation(len(table))
        mixed = cluster(table[order], limit)
    finally:
        similar.TILE = whole
    expected = _matrix(table)
    assert groups.tolist() == _groups(expected, limit)
    first, second = np.nonzero(np.triu(expected <= limit, 1))
    assert {tuple(pair) for pair in pairs.tolist()} == set(zip(first.tolist(), second.tolist())) and len(pairs) == len(first)
    assert distance.tolist() == [expected[a, b] for a, b in pairs] and (np.diff(distance) >= 0).all()
    # The same partition, whatever the order: two rows share a group in both or in neither.
    assert np.array_equal(mixed[:, None] == mixed, groups[order][:, None] == groups[order])


def test_grouping_needs_no_matrix():
    """Ten thousand slices that are all alike: fifty million pairs, in the memory of one tile and a few numbers a slice."""
    hashes = np.zeros((10_000, 1), dtype=np.uint64)
    hashes[5000:] = 2**64 - 1
    tracemalloc.start()
    groups = cluster(hashes, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert groups.tolist() == [0] * 5000 + [1] * 5000
    assert peak < 30e6, "the matrix of distances alone would be 200 MB"
