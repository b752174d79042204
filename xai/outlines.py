"""From a mask that a heatmap gave to one that follows the slice's own edges: superpixels, random walker, GrabCut."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import disk
from skimage.segmentation import random_walker, slic

REACH = 0.03  # of the side: how far beyond the heatmap's mask the tumour may reach; chosen on validation slices, as is CORE
CORE = 0.5  # of the mask, its hottest part, is taken to be tumour
SUPERPIXELS = 400  # of a slice
STEPS = ("none", "superpixels", "random_walker", "grabcut")


def follow_image(step: str, masks: np.ndarray, heatmaps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Masks (N, S, S) bool redrawn by one of `STEPS`, each slice by itself and without labels.

    - ``none``: as they are.
    - ``superpixels``: those of `SUPERPIXELS` patches of even brightness (SLIC, Achanta et al. 2012) that the mask covers by more than half.
    - ``random_walker`` (Grady 2006): the hottest `CORE` of the mask is tumour, what is farther than `REACH` from the mask is not; every pixel
      between goes where a walker that avoids edges arrives first.
    - ``grabcut`` (Rother et al. 2004): the same two certainties; the rest is cut where brightness models and edges say.

    An empty mask, and one that leaves nothing to be called background, stays as it is; so does a mask that would vanish.

    Parameters
    ----------
    masks, heatmaps, images : (N, S, S)
        Images in 0-255.
    """
    if step not in STEPS:
        raise ValueError(f"Unknown step {step!r}; expected one of {', '.join(STEPS)}.")
    masks = np.asarray(masks, bool)
    if step == "none":
        return masks
    redraw = {"superpixels": _superpixels, "random_walker": _random_walker, "grabcut": _grabcut}[step]
    return np.stack([_redrawn(redraw, mask, np.asarray(heat, np.float32), image) for mask, heat, image in zip(masks, heatmaps, images)])


def _redrawn(redraw, mask: np.ndarray, heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    near = ndimage.binary_dilation(mask, disk(max(1, round(REACH * mask.shape[0]))))
    if not mask.any() or near.all():
        return mask
    core = mask & (heat >= np.quantile(heat[mask], 1 - CORE))
    found = redraw(np.clip(image, 0, 255).astype(np.uint8), mask, core, near)
    return found if found.any() else mask


def _superpixels(image: np.ndarray, mask: np.ndarray, core: np.ndarray, near: np.ndarray) -> np.ndarray:
    patches = slic(image / 255, n_segments=SUPERPIXELS, compactness=0.05, channel_axis=None, start_label=0)
    covered = ndimage.mean(mask, patches, index=np.arange(patches.max() + 1))
    return (np.nan_to_num(covered) > 0.5)[patches]


def _random_walker(image: np.ndarray, mask: np.ndarray, core: np.ndarray, near: np.ndarray) -> np.ndarray:
    seeds = np.zeros(mask.shape, np.int32)
    seeds[~near], seeds[core] = 1, 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that are not installed
        return random_walker(image / 255, seeds, beta=90, mode="cg_j") == 2


def _grabcut(image: np.ndarray, mask: np.ndarray, core: np.ndarray, near: np.ndarray) -> np.ndarray:
    seeds = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    seeds[near], seeds[mask], seeds[core] = cv2.GC_PR_BGD, cv2.GC_PR_FGD, cv2.GC_FGD
    cv2.setRNGSeed(0)  # its brightness models start from random clusters
    models = np.zeros((2, 1, 65))
    cv2.grabCut(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), seeds, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    return (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
