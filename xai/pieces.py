"""Pieces of a slice that a tumour could be: connected areas brighter or darker than what lies around them, found without network or label."""

from __future__ import annotations

from typing import Iterator

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import sobel
from skimage.measure import label, regionprops
from skimage.morphology import disk

from xai.masks import head_region

LEVELS = 12  # grey values at which a slice is cut, evenly over the percentiles 1 to 99 of the head, and as many evenly between these two
SMALLEST, LARGEST = 0.002, 0.12  # of the picture
SOLIDITY = 0.75  # the share of its convex hull that a piece fills, at least
ALIKE = 0.7  # intersection over union from which only one of two pieces is kept
DARK = 0.25  # what a piece counts that is darker than its rim: contrast agent makes tumours bright, a cyst or a ventricle is dark
# In sides of the picture; a side of 160 pixels is where they were set, on validation slices, as is what stands above.
SMOOTHING, OPENING, CLOSING, SKULL = 1 / 160, 2 / 160, 3 / 160, 9.6 / 160


def pieces(image: np.ndarray) -> np.ndarray:
    """Areas of a slice that stand out at some grey value, each filled, from the largest to the smallest.

    The smoothed slice is cut at `LEVELS` grey values. Connected components above a cut are pieces, as they are, opened (cut off from a
    thin neighbour) and closed (a ring with its inside); so are those below it that lie well inside the head. Too small, too large or ragged
    ones are left out, and of those that are nearly the same all but the one that runs along the strongest edges. The idea is that of maximally
    stable regions (Matas et al. 2004).

    Parameters
    ----------
    image : (S, S)
        Grey values 0-255.

    Returns
    -------
    (P, S, S) bool
        P is some tens; 0 for a picture without contrast.
    """
    image = np.asarray(image, np.float32)
    if not np.ptp(image):
        return np.zeros((0, *image.shape), bool)
    edges = sobel(image)
    kept: list[tuple[int, tuple[slice, slice], np.ndarray]] = []
    for area, box, filled in sorted(_components(image), key=lambda piece: -float(edges[piece[1]][_outline(piece[2])].mean())):
        if all(_likeness(area, box, filled, *other) < ALIKE for other in kept):
            kept.append((area, box, filled))
    found = np.zeros((len(kept), *image.shape), bool)
    for out, (_, box, filled) in zip(found, sorted(kept, key=lambda piece: -piece[0])):
        out[box] = filled
    return found


def prominence(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How much each piece stands out to the eye of someone who knows no tumour, (P,) from 0; this study's own rule, set on validation slices.

    Mean inside minus mean of a rim around it in standard deviations of the head (where negative, `DARK` of its size), times the root of the area,
    times roundness 4 pi A / P^2 (at most 1), times how far from the edge of the head it stays (at most 1, from a tenth of the largest distance
    on), because scalp and skull stand out, too.
    """
    image, side = np.asarray(image, np.float32), len(image)
    head = head_region(image[None])[0]
    depth, spread = ndimage.distance_transform_edt(head), max(float(image[head].std()), 1e-6) if head.any() else 1.0
    scores = np.zeros(len(found))
    for number, piece in enumerate(found):
        rim = _grown(piece, 5 * side / 160) & ~_grown(piece, side / 160) & head
        contrast = float(image[piece].mean() - image[rim].mean()) / spread if rim.any() else 0.0
        roundness = min(4 * np.pi * piece.sum() / max(_outline(piece).sum(), 1) ** 2, 1.0)
        scores[number] = max(contrast, -DARK * contrast) * np.sqrt(piece.mean()) * roundness * min(depth[piece].min() / max(0.1 * depth.max(), 1e-6), 1.0)
    return scores


def without(image: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """The slice with a piece painted over by the median of a thin rim around it, blended over about a pixel; (S, S) float32."""
    image, side = np.asarray(image, np.float32), len(image)
    covered = _grown(piece, 2 * side / 160)
    rim = _grown(covered, 3 * side / 160) & ~covered
    share = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), side / 160)
    return image * (1 - share) + share * (np.median(image[rim]) if rim.any() else image.mean())


def _components(image: np.ndarray) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Area, box and filled shape of every component that could be a piece."""
    side = len(image)
    smooth = cv2.GaussianBlur(image, (0, 0), SMOOTHING * side)
    head = head_region(image[None])[0]
    opening, closing, skull = (_disk(share * side) for share in (OPENING, CLOSING, SKULL))
    inner = _morphology(cv2.MORPH_ERODE, head, skull)
    shares = np.percentile(smooth[head], np.linspace(1, 99, LEVELS))
    for level in np.unique([*shares, *np.linspace(shares[0], shares[-1], LEVELS)]):
        above = smooth >= level
        for cut in (above, _morphology(cv2.MORPH_OPEN, above, opening), _morphology(cv2.MORPH_CLOSE, above, closing) & head,
                    _morphology(cv2.MORPH_OPEN, ~above & inner, opening)):  # fmt: skip
            for region in regionprops(label(cut, connectivity=1)):
                if SMALLEST <= region.area_filled / image.size <= LARGEST and region.area_filled >= SOLIDITY * region.area_convex:
                    yield int(region.area_filled), region.slice, region.image_filled


def _likeness(area: int, box, filled: np.ndarray, other_area: int, other_box, other: np.ndarray) -> float:
    """Intersection over union of two pieces given by their boxes."""
    if min(area, other_area) < ALIKE * max(area, other_area):
        return 0.0
    starts = [max(a.start, b.start) for a, b in zip(box, other_box)]
    stops = [min(a.stop, b.stop) for a, b in zip(box, other_box)]
    if any(start >= stop for start, stop in zip(starts, stops)):
        return 0.0
    parts = [shape[tuple(slice(start - a.start, stop - a.start) for a, start, stop in zip(where, starts, stops))] for shape, where in ((filled, box), (other, other_box))]
    both = int((parts[0] & parts[1]).sum())
    return both / (area + other_area - both)


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _morphology(operation: int, mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(mask.astype(np.uint8), operation, kernel) > 0


def _grown(mask: np.ndarray, radius: float) -> np.ndarray:
    return _morphology(cv2.MORPH_DILATE, mask, _disk(radius))


def _disk(radius: float) -> np.ndarray:
    return disk(max(1, round(radius)))
