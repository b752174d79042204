"""Slices that look alike: perceptual hashes, near-duplicates, and groups that stand in for patients where a set names none.

Which hash, and which distance, was measured on figshare slices (2,537 at 256 px, 169 patients known; 2,047 pairs of neighbours in one
series). "Precision" is the share of pairs within groups that are of one patient, "neighbours" the share of neighbours in one group:

| hash, bits | distance | precision | neighbours | largest group |
|---|---|---|---|---|
| pHash, 64 | 4 | 0.831 | 0.23 | 12 |
| dHash, 256 | 32 | 0.976 | 0.29 | 13 |
| wHash, 256 | 0 | 0.852 | 0.03 | 5 |
| pHash, 256 | 40 | 0.911 | 0.41 | 15 |
| pHash, 576 | 116 | 0.991 | 0.47 | 13 |
| pHash, 576 | 128 | 0.776 | 0.58 | 49 |

dHash and wHash see above all the outline of the head, which all patients share. Past a distance of about 120 groups chain: each slice
resembles the next, and soon most of the set is one group.

What this cannot do: a hash finds near-duplicates, not patients. On those slices, a random split by groups leaves 51 % of the test slices
with an adjacent slice in training (split by slice: 89 %; by patient: none), and 98 % with some slice of their patient. A copy that was
mirrored, cropped or turned by more than a few degrees is not found either. A split by groups removes copies and the nearest of
neighbours, and still overstates how a network does on new patients.
"""

from __future__ import annotations

from typing import Iterable, Iterator

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_SIZE = 24  # 24 x 24 lowest frequencies: 576 bits, nine whole words
# A slice saved again (JPEG at quality 50 to 75, 128 to 512 px, another grey scale) moved by 46 bits at most, by 44 or less in 99 %;
# the nearest two different slices of one series are 46 apart.
SAME_SLICE = 44
# Two steps below the distance at which groups begin to chain, because a larger set is denser: see the table above.
SAME_SERIES = 116
TILE = 512  # hashes on a side of the square of pairs compared at once: 3 MB, 20 MB where all are alike, for any number of slices


def perceptual_hashes(images: Iterable[np.ndarray]) -> np.ndarray:
    """Hash a stream of slices, one at a time.

    The hash is pHash (``imagehash.phash``): the slice at 96 x 96 px, its discrete cosine transform, and for each of the 24 x 24 lowest
    frequencies whether it is above their median.

    Parameters
    ----------
    images : iterable of numpy.ndarray
        Grey slices, uint8 (H, W), of any size; another shape is squeezed to a square.

    Returns
    -------
    numpy.ndarray
        uint64 (N, 9), the 576 bits packed.

    Raises
    ------
    ValueError
        An array is not uint8 (H, W).
    """
    hashes = [_hash(image) for image in images]
    return np.array(hashes, dtype=np.uint64).reshape(len(hashes), HASH_SIZE * HASH_SIZE // 64)


def name_groups(ids: pd.Series, groups: np.ndarray) -> pd.Series:
    """Names of groups, to stand in for patients: "like_" and the first id of the group, whichever other groups there are."""
    return "like_" + ids.groupby(groups).transform("min")


def near_duplicates(hashes: np.ndarray, max_distance: int = SAME_SLICE) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of slices at most `max_distance` bits apart, nearest first.

    Parameters
    ----------
    hashes : numpy.ndarray
        uint64 (N, words), from `perceptual_hashes`.
    max_distance : int
        Bits; `SAME_SLICE` finds copies, `SAME_SERIES` neighbours as well.

    Returns
    -------
    pairs : numpy.ndarray
        int64 (M, 2), row numbers, the lower first.
    distance : numpy.ndarray
        int64 (M,), bits.
    """
    found = [np.empty((0, 3), dtype=np.int64), *(np.stack(tile, axis=1) for tile in _close_pairs(hashes, max_distance))]
    first, second, distance = np.concatenate(found).T
    order = np.lexsort((second, first, distance))
    return np.stack([first, second], axis=1)[order], distance[order]


def cluster(hashes: np.ndarray, max_distance: int = SAME_SERIES) -> np.ndarray:
    """Group slices: two at most `max_distance` bits apart are in one group, and so is what a chain of such pairs joins.

    Every pair is compared, so that none is missed; memory grows with N alone, because the pairs of a tile are merged into groups at once.
    Time grows with the square: about 12 ns a pair on one core, a fraction of a second for 6,000 slices, a minute for 100,000.

    Parameters
    ----------
    hashes : numpy.ndarray
        uint64 (N, words), from `perceptual_hashes`.
    max_distance : int
        Bits.

    Returns
    -------
    numpy.ndarray
        int64 (N,), group numbers from 0 in order of first appearance; equal for equal sets of slices whatever their order.
    """
    count = len(hashes)
    group = np.arange(count)
    for first, second, _ in _close_pairs(hashes, max_distance):
        edges = coo_array((np.ones(len(first), dtype=bool), (group[first], group[second])), shape=(count, count))
        group = connected_components(edges, directed=False)[1][group]
    return pd.factorize(group)[0]


def _hash(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"A slice to hash is {image.dtype} {image.shape}; expected uint8 (H, W).")
    bits = imagehash.phash(Image.fromarray(image), hash_size=HASH_SIZE).hash
    return np.packbits(bits.ravel()).view(np.uint64)


def _close_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs with first < second, tile by tile: rows of the first, rows of the second, distances; tiles without a pair are passed over."""
    for top in range(0, len(hashes), TILE):
        for left in range(top, len(hashes), TILE):
            distance = _distances(hashes[top : top + TILE], hashes[left : left + TILE])
            first, second = np.nonzero(distance <= max_distance)
            if top == left:
                first, second = first[first < second], second[first < second]
            if len(first):
                yield first + top, second + left, distance[first, second].astype(np.int64)


def _distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Hamming distances, uint16 (len(rows), len(columns))."""
    distance = np.zeros((len(rows), len(columns)), dtype=np.uint16)
    for word in range(rows.shape[1]):
        distance += np.bitwise_count(rows[:, word, None] ^ columns[None, :, word])
    return distance
