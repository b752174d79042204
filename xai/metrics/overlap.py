"""How well a mask or a heatmap agrees with the drawn tumour, and baselines that know nothing of the network.

Masks are (N, S, S) with 0 / 1 (or bool), heatmaps (N, S, S) floats in [0, 1]; every score is a float (N,).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from skimage.filters import sobel

HD_PERCENTILE = 95


def dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice coefficient 2|P and T| / (|P| + |T|); 1 where both masks are empty, 0 where only one is."""
    both, predicted_area, truth_area = _areas(predicted, truth)
    return _ratio(2 * both, predicted_area + truth_area, empty=1.0)


def iou(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union |P and T| / |P or T|; 1 where both masks are empty, 0 where only one is."""
    both, predicted_area, truth_area = _areas(predicted, truth)
    return _ratio(both, predicted_area + truth_area - both, empty=1.0)


def precision(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the predicted pixels that are tumour; an empty prediction scores 1 if there is no tumour, else 0."""
    both, predicted_area, truth_area = _areas(predicted, truth)
    return _ratio(both, predicted_area, empty=(truth_area == 0).astype(float))


def recall(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the tumour that is predicted; without a tumour, an empty prediction scores 1 and any other 0."""
    both, predicted_area, truth_area = _areas(predicted, truth)
    return _ratio(both, truth_area, empty=(predicted_area == 0).astype(float))


def hd95(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """95th percentile Hausdorff distance between the masks' outlines, in pixels.

    The larger of the two directed 95th percentiles (the convention of MONAI and the BraTS challenge): from each
    outline pixel of one mask to the nearest outline pixel of the other. An outline is the mask without its erosion by
    the four neighbours; a pixel at the image's edge belongs to it.

    Where both masks are empty the distance is 0. Where only one is empty no distance exists; it is set to the
    diagonal of the image, S * sqrt(2), the largest error there could be, so that a network does not gain by silence.
    """
    predicted, truth = _masks(predicted, truth)
    diagonal = float(np.hypot(*predicted.shape[1:]))
    return np.array([_hd95_slice(one, other, diagonal) for one, other in zip(predicted, truth)], dtype=float)


def pointing_game(heatmap: np.ndarray, mask: np.ndarray, *, tolerance_pixels: float = 0) -> np.ndarray:
    """Does the heatmap's maximum lie in the tumour (Zhang et al. 2016, sec. 4)?

    Where several pixels share the maximum, the score is the share of them inside the tumour: what drawing one of them
    at random is expected to score. A constant heatmap thus scores the tumour's share of the image.

    Parameters
    ----------
    heatmap : array (N, S, S)
    mask : array (N, S, S) of 0 / 1
    tolerance_pixels : float, default 0
        A maximum at most this far outside the tumour still counts; the original used 15 pixels on photographs.
    """
    heatmap, mask = _heatmap_and_mask(heatmap, mask)
    if tolerance_pixels > 0:
        mask = np.stack([distance_transform_edt(~one) <= tolerance_pixels if one.any() else one for one in mask])
    peak = heatmap == heatmap.max(axis=(1, 2), keepdims=True)
    return (peak & mask).sum(axis=(1, 2)) / peak.sum(axis=(1, 2))


def energy_inside(heatmap: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of the heatmap's sum that lies in the tumour (Wang et al. 2020, sec. 4.3); 0 for an all-zero heatmap."""
    heatmap, mask = _heatmap_and_mask(heatmap, mask)
    return _ratio((heatmap * mask).sum(axis=(1, 2)), heatmap.sum(axis=(1, 2)), empty=0.0)


# Baselines: heatmaps made without the network. A saliency method that does not beat them explains nothing.


def random_heatmaps(shape: tuple[int, int, int], *, seed: int, smoothing_pixels: float = 0) -> np.ndarray:
    """Uniform noise (N, S, S); smoothed by a Gaussian of that sigma it has blobs, as class activation maps do."""
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    if smoothing_pixels > 0:
        noise = gaussian_filter(noise, (0, smoothing_pixels, smoothing_pixels))
    return _stretch(noise)


def centre_prior(shape: tuple[int, int, int], *, sigma_fraction: float = 0.25) -> np.ndarray:
    """A Gaussian at the image's centre, sigma as a fraction of the side, the same for all N slices (read-only)."""
    count, height, width = shape
    rows = (np.arange(height) - (height - 1) / 2) / (sigma_fraction * height)
    columns = (np.arange(width) - (width - 1) / 2) / (sigma_fraction * width)
    prior = np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / 2).astype(np.float32)
    return np.broadcast_to(prior / prior.max(), (count, height, width))


def edge_heatmaps(images: np.ndarray, *, smoothing_pixels: float = 1) -> np.ndarray:
    """Sobel edge strength of the slightly smoothed images (N, S, S), each stretched to [0, 1]."""
    smooth = gaussian_filter(images.astype(np.float32), (0, smoothing_pixels, smoothing_pixels))
    return _stretch(np.stack([sobel(image) for image in smooth]))


def intensity_heatmaps(images: np.ndarray) -> np.ndarray:
    """The images themselves (N, S, S), each stretched to [0, 1]: what enhances is called important."""
    return _stretch(images.astype(np.float32))


def mean_mask_prior(train_masks: np.ndarray, n: int) -> np.ndarray:
    """How often each pixel is tumour in the training masks, divided by its maximum, for `n` slices (read-only)."""
    if not len(train_masks):
        raise ValueError("The mean mask needs at least one training mask, but got none.")
    mean = np.asarray(train_masks).mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.broadcast_to(mean / max(float(mean.max()), np.finfo(np.float32).tiny), (n, *mean.shape))


def baselines(images: np.ndarray, train_masks: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """All five baselines for test `images` (N, S, S): name -> heatmaps (N, S, S) in [0, 1]."""
    return {
        "random": random_heatmaps(images.shape, seed=seed),
        "centre": centre_prior(images.shape),
        "mean mask": mean_mask_prior(train_masks, len(images)),
        "edges": edge_heatmaps(images),
        "intensity": intensity_heatmaps(images),
    }


def _masks(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"Two stacks of equal shape (N, S, S) are needed, but got {predicted.shape} and {truth.shape}.")
    return predicted.astype(bool), truth.astype(bool)


def _heatmap_and_mask(heatmap: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heatmap = np.asarray(heatmap)
    _, mask = _masks(np.broadcast_to(False, heatmap.shape), mask)
    # float16 sums overflow at 65,504, which a bright 256-pixel heatmap reaches.
    heatmap = heatmap.astype(np.float64)
    if not np.isfinite(heatmap).all():
        raise ValueError("A heatmap holds values that are not finite; expected [0, 1]: normalise it first.")
    return heatmap, mask


def _areas(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    predicted, truth = _masks(predicted, truth)
    return tuple(np.count_nonzero(mask, axis=(1, 2)) for mask in (predicted & truth, predicted, truth))


def _ratio(numerator: np.ndarray, denominator: np.ndarray, *, empty: np.ndarray | float) -> np.ndarray:
    """numerator / denominator, and `empty` where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), empty)


def _hd95_slice(predicted: np.ndarray, truth: np.ndarray, diagonal: float) -> float:
    if not predicted.any() and not truth.any():
        return 0.0
    if not predicted.any() or not truth.any():
        return diagonal
    # Both outlines lie in the bounding box of the union, so distances need no more than that box.
    union = predicted | truth
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outlines = [mask & ~binary_erosion(mask) for mask in (predicted[box], truth[box])]
    directed = [
        np.percentile(distance_transform_edt(~other)[outline], HD_PERCENTILE)
        for outline, other in (outlines, outlines[::-1])
    ]
    return float(max(directed))


def _stretch(values: np.ndarray) -> np.ndarray:
    """Each slice linearly to [0, 1]; a constant slice becomes 0."""
    low = values.min(axis=(1, 2), keepdims=True)
    span = values.max(axis=(1, 2), keepdims=True) - low
    return _ratio(values - low, span, empty=0.0).astype(np.float32)
