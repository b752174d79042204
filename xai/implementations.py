"""Grad-CAM++ and Score-CAM as published libraries compute them, from the same network and slices: one name, several maps.

Each entry is the formula as it stands in the source of the version named. That of tf-keras-vis is tested against the library itself; the others
were read, not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import pandas as pd
from scipy.ndimage import zoom

from xai.metrics.faithfulness import rank_similarity
from xai.metrics.overlap import dice
from xai.models import cut_layers
from xai.saliency import ClassActivationMap, Evidence, GradCAMPlusPlus, ScoreCAM, Split, normalise, upsample

TOP_SHARE = 0.1  # of the pixels, for the overlap of the masks that two maps would give


@dataclass(frozen=True)
class Implementation:
    """A library's way: its channel weights (B, K) by split and evidence, and in words what differs from the equation."""

    method: str
    library: str
    difference: str
    weights: Callable[[Split, Evidence], np.ndarray]


def _paper(method: type[ClassActivationMap]):
    return lambda split, evidence: method(split).channel_weights(evidence)


def _plus_plus(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gradients, activations = evidence.gradients.astype(np.float64), evidence.activations.astype(np.float64)
    return gradients, activations, np.maximum(gradients, 0.0)


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0.0)


def _alpha_sums_to_one(split: Split, evidence: Evidence) -> np.ndarray:
    g, a, positive = _plus_plus(evidence)
    alpha = _divided(g**2, 2 * g**2 + a.sum(axis=(1, 2), keepdims=True) * g**3)
    return (positive * _divided(alpha, np.broadcast_to(alpha.sum(axis=(1, 2), keepdims=True), alpha.shape))).sum(axis=(1, 2))


def _mean_activation(split: Split, evidence: Evidence) -> np.ndarray:
    g, a, positive = _plus_plus(evidence)
    return (_divided(g**2, 2 * g**2 + a.mean(axis=(1, 2), keepdims=True) * g**3) * positive).mean(axis=(1, 2))


def _cube_inside(split: Split, evidence: Evidence) -> np.ndarray:
    g, a, positive = _plus_plus(evidence)
    return (_divided(g**2, 2 * g**2 + (a * g**3).sum(axis=(1, 2), keepdims=True)) * positive).sum(axis=(1, 2))


def _small_constant(split: Split, evidence: Evidence) -> np.ndarray:
    g, a, positive = _plus_plus(evidence)
    return (g**2 / (2 * g**2 + a.sum(axis=(1, 2), keepdims=True) * g**3 + 1e-6) * positive).sum(axis=(1, 2))


def _masked_logits(split: Split, evidence: Evidence, enlarge: Callable) -> np.ndarray:
    """Logits (B, K, C) of every slice under each of its channels, one slice at a time."""
    logits = []
    for image, activations in zip(evidence.images, evidence.activations):
        masks = np.stack([enlarge(activations[..., channel], image.shape) for channel in range(activations.shape[-1])])
        low, high = (f(masks, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        masks = _divided(masks - low, np.broadcast_to(high - low, masks.shape))
        logits.append(np.concatenate([split.logits(image * part) for part in np.array_split(masks, max(1, len(masks) // 32))]))
    return np.stack(logits)


def _corner_aligned(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear with the corners of grid and image on each other: `align_corners`, and what `scipy.ndimage.zoom` does."""
    return zoom(grid, (shape[0] / grid.shape[0], shape[1] / grid.shape[1]), order=1, mode="nearest")


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    exponent = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponent / exponent.sum(axis=axis, keepdims=True)


def _class_probability(split: Split, evidence: Evidence) -> np.ndarray:
    probabilities = _softmax(_masked_logits(split, evidence, _corner_aligned), axis=-1)
    return np.take_along_axis(probabilities, evidence.classes[:, None, None], axis=2)[..., 0]


def _softmax_of_corner_aligned(split: Split, evidence: Evidence) -> np.ndarray:
    logits = _masked_logits(split, evidence, _corner_aligned)
    return _softmax(np.take_along_axis(logits, evidence.classes[:, None, None], axis=2)[..., 0], axis=1)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation("gradcampp", "this study", "equation 19; the paper's exp(S) cancels in alpha and is left out of the weights", _paper(GradCAMPlusPlus)),
    Implementation("gradcampp", "tf-keras-vis 0.8.7", "alpha is divided by its sum over the map", _alpha_sums_to_one),
    Implementation("gradcampp", "xplique 2.0.2", "the mean of the activations where equation 19 has their sum", _mean_activation),
    Implementation("gradcampp", "torchcam 0.5.0", "the cube of the gradient inside the sum over the map", _cube_inside),
    Implementation("gradcampp", "grad-cam 1.5.7 (PyTorch)", "1e-6 added to the denominator: as large as it where gradients are about 1e-3", _small_constant),
    Implementation("scorecam", "this study", "algorithm 1 on logits: softmax over the channels", _paper(ScoreCAM)),
    Implementation("scorecam", "tf-keras-vis 0.8.7", "the class's probability is the weight, without a softmax over the channels", _class_probability),
    Implementation("scorecam", "grad-cam 1.5.7 (PyTorch)", "masks are enlarged corner on corner, ours cell centre on cell centre", _softmax_of_corner_aligned),
)  # fmt: skip


def compare(split: Split, images: np.ndarray) -> pd.DataFrame:
    """Every implementation's maps of the predicted classes against this study's, at the target layer and at the cut before it.

    Where the class is read linearly from the mean of the target layer, its gradient is the same in every cell, and most ways
    of Grad-CAM++ agree; an earlier layer shows them apart. Score-CAM is computed at the target layer alone: it needs a pass per channel.

    Parameters
    ----------
    images : (N, S, S) in 0-255

    Returns
    -------
    DataFrame
        method, library, difference, layer; means over the slices of: rank_correlation with this study's map, largest_difference of the
        maps in [0, 1], same_top (Dice of the two masks of the highest tenth of the pixels).
    """
    records = []
    for cut in _cuts(split):
        activations, gradients, logits = cut.activations_and_gradients(images, None)
        evidence = Evidence(np.asarray(images, np.float32), activations, gradients, logits, logits.argmax(axis=1))
        ours: dict[str, np.ndarray] = {}
        for way in IMPLEMENTATIONS:
            if way.method == "scorecam" and cut is not split:
                continue
            maps = _maps(evidence, way.weights(cut, evidence))
            reference = ours.setdefault(way.method, maps)
            records.append({
                "method": way.method, "library": way.library, "difference": way.difference, "layer": cut.layer,
                "rank_correlation": float(np.nanmean(rank_similarity(reference, maps))),
                "largest_difference": float(np.abs(reference - maps).max(axis=(1, 2)).mean()),
                "same_top": float(dice(_top(reference), _top(maps)).mean()),
            })  # fmt: skip
    return pd.DataFrame(records)


def _cuts(split: Split) -> list[Split]:
    """The split at its target layer, and at the layer before it that separates image and class."""
    layers = [layer.name for layer in cut_layers(split.model) if layer.size > 1]
    before = layers[: layers.index(split.layer)]
    return [split] + ([split.at(before[-1])] if before else [])


def _maps(evidence: Evidence, weights: np.ndarray) -> np.ndarray:
    raw = np.maximum(np.einsum("bhwk,bk->bhw", evidence.activations, weights), 0.0)
    return normalise(np.stack([upsample(grid, evidence.images.shape[1:]) for grid in raw]))


def _top(maps: np.ndarray) -> np.ndarray:
    """The highest tenth of each map's pixels; fewer where the map is zero."""
    cut = np.quantile(maps, 1 - TOP_SHARE, axis=(1, 2), keepdims=True)
    return (maps >= cut) & (maps > 0)
