"""Heatmap -> binary tumour mask: a percentile of the map, then clean-up."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import sobel, threshold_otsu
from skimage.morphology import disk

RULES = ("fixed", "validation", "contrast", "edges", "half maximum", "half energy", "otsu", "oracle")


def threshold(heatmaps: np.ndarray, percentile: float | np.ndarray) -> np.ndarray:
    """Pixels at or above a percentile of their own map.

    Parameters
    ----------
    heatmaps : (N, S, S)
    percentile : float or (N,)
        In 0-100. A map without contrast gives an empty mask, whatever the percentile.

    Returns
    -------
    (N, S, S) bool
    """
    heatmaps = np.asarray(heatmaps, dtype=np.float32)
    flat = heatmaps.reshape(len(heatmaps), -1)
    levels = np.broadcast_to(np.asarray(percentile, dtype=float), (len(heatmaps),))
    cuts = np.array([np.percentile(values, level) for values, level in zip(flat, levels)], dtype=np.float32)
    contrast = np.ptp(flat, axis=1) > 0
    # Strictly above the minimum, so that a plateau at the bottom is never tumour.
    chosen = (flat >= cuts[:, None]) & (flat > flat.min(axis=1, keepdims=True)) & contrast[:, None]
    return chosen.reshape(heatmaps.shape)


def head_region(images: np.ndarray) -> np.ndarray:
    """Head against background by Otsu's threshold, filled; (N, S, S) bool."""
    regions = []
    for image in np.asarray(images):
        level = threshold_otsu(image) * 0.5 if np.ptp(image) else 0
        regions.append(ndimage.binary_fill_holes(image > level))
    return np.stack(regions)


def contrast_percentiles(heatmaps: np.ndarray, images: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Percentile of each map without labels: the one whose mask separates heat and image brightness best.

    For each candidate p let M be the pixels at or above the p-th percentile, inside the head H. The score is Otsu's
    between-class variance w_1 w_2 (mu_1 - mu_2)^2 of the heat, divided by its total variance, times the absolute standardised difference
    of image brightness between M and H without M. The candidate with the largest product wins; ties go to the lower.

    This study's own rule: the paper says "adaptive percentile thresholding" and not how it adapts.

    Parameters
    ----------
    heatmaps, images : (N, S, S)
    candidates : (P,) percentiles

    Returns
    -------
    (N,) float
    """
    heads = head_region(images)
    best = np.empty(len(heatmaps))
    for row, (heat, image, head) in enumerate(zip(np.asarray(heatmaps, np.float32), images, heads)):
        masks = threshold(np.repeat(heat[None], len(candidates), axis=0), candidates) & head
        inside, total = masks.sum(axis=(1, 2)), max(int(head.sum()), 1)
        values, brightness = heat[head], np.asarray(image, np.float32)[head]
        selected = masks[:, head]
        best[row] = candidates[np.argmax(_separation(selected, values, inside, total) * _contrast(selected, brightness, inside, total))]
    return best


def edge_percentiles(heatmaps: np.ndarray, images: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Percentile of each map without labels: the one whose mask runs along the strongest edges of the image.

    The score of a candidate is the mean Sobel gradient of the image over the outline (the mask without its erosion) of its mask's hottest
    component; ties go to the lower. This study's own rule, beside `contrast_percentiles`.

    Parameters
    ----------
    heatmaps, images : (N, S, S)
    candidates : (P,) percentiles

    Returns
    -------
    (N,) float
    """
    best = np.empty(len(heatmaps))
    for row, (heat, image) in enumerate(zip(np.asarray(heatmaps, np.float32), images)):
        gradient = sobel(np.asarray(image, np.float32))
        masks = [_hottest_component(mask, heat) for mask in threshold(np.repeat(heat[None], len(candidates), axis=0), candidates)]
        outlines = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
        best[row] = candidates[np.argmax([gradient[outline].mean() if outline.any() else 0.0 for outline in outlines])]
    return best


def half_maximum(heatmaps: np.ndarray) -> np.ndarray:
    """Pixels at least half as hot as the hottest; (N, S, S) bool, empty for a map without contrast."""
    heatmaps = np.asarray(heatmaps, np.float32)
    low, high = heatmaps.min(axis=(1, 2), keepdims=True), heatmaps.max(axis=(1, 2), keepdims=True)
    return (heatmaps - low >= (high - low) / 2) & (high > low)


def half_energy(heatmaps: np.ndarray) -> np.ndarray:
    """The fewest hottest pixels that together hold half of the map's heat; (N, S, S) bool, empty for a map without contrast."""
    masks = []
    for heat in np.asarray(heatmaps, np.float32):
        heat = np.nan_to_num(heat - heat.min()).astype(np.float64)
        hottest = np.sort(heat, axis=None)[::-1]
        total = np.cumsum(hottest)
        cut = hottest[np.searchsorted(total, total[-1] / 2)] if total[-1] > 0 else np.inf
        masks.append(heat >= cut)
    return np.stack(masks)


def _separation(selected: np.ndarray, values: np.ndarray, inside: np.ndarray, total: int) -> np.ndarray:
    """Between-class share of variance, (P,)."""
    share = inside / total
    above = selected @ values / np.maximum(inside, 1)
    below = (values.sum() - selected @ values) / np.maximum(total - inside, 1)
    return share * (1 - share) * (above - below) ** 2 / max(float(values.var()), 1e-12)


def _contrast(selected: np.ndarray, brightness: np.ndarray, inside: np.ndarray, total: int) -> np.ndarray:
    """Absolute difference of mean brightness inside and outside, in standard deviations of the head, (P,)."""
    above = selected @ brightness / np.maximum(inside, 1)
    below = (brightness.sum() - selected @ brightness) / np.maximum(total - inside, 1)
    return np.abs(above - below) / max(float(brightness.std()), 1e-6)


def otsu(heatmaps: np.ndarray) -> np.ndarray:
    """Otsu's threshold of each map (Otsu 1979); (N, S, S) bool, empty for a map without contrast."""
    return np.stack([
        heat >= threshold_otsu(heat) if np.ptp(heat) > 0 else np.zeros(heat.shape, bool)
        for heat in np.asarray(heatmaps, np.float32)
    ])  # fmt: skip


def refine(masks: np.ndarray, heatmaps: np.ndarray, *, opening_radius: int = 1) -> np.ndarray:
    """Clean-up: opening, then the component with the most heat, then hole filling.

    An opening that would remove the whole mask is skipped. (N, S, S) bool -> (N, S, S) bool.
    """
    return np.stack([steps["filled"] for steps in (refine_steps(m, h, opening_radius=opening_radius) for m, h in zip(masks, heatmaps))])


def refine_steps(mask: np.ndarray, heatmap: np.ndarray, *, opening_radius: int = 1) -> dict[str, np.ndarray]:
    """The stages of `refine` for one mask: opened, component, filled; each (S, S) bool."""
    mask = np.asarray(mask, bool)
    opened = ndimage.binary_opening(mask, disk(opening_radius)) if opening_radius else mask
    opened = opened if opened.any() else mask
    component = _hottest_component(opened, np.asarray(heatmap, np.float32))
    return {"opened": opened, "component": component, "filled": ndimage.binary_fill_holes(component)}


def _hottest_component(mask: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The 8-connected component with the largest sum of heat."""
    components, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    heat = ndimage.sum_labels(heatmap, components, index=np.arange(1, count + 1))
    return components == 1 + int(np.argmax(heat))
