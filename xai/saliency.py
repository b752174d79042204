"""Class activation maps: Grad-CAM, Grad-CAM++ and Score-CAM over one split of the network at its target layer."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Iterator, Sequence

import cv2
import keras
import numpy as np

from xai.network_split import Split

CHUNK = 32  # masked inputs in memory at once; Score-CAM's memory grows with this, not with the channels


@dataclass
class Evidence:
    """What one batch gives to every method: images (B, S, S), A and dS/dA (B, h, w, K), logits (B, C), classes (B,)."""

    images: np.ndarray
    activations: np.ndarray
    gradients: np.ndarray
    logits: np.ndarray
    classes: np.ndarray


class ClassActivationMap(ABC):
    """L_c = ReLU(sum_k w_k A_k); a method is its channel weights w (B, K)."""

    name: str

    def __init__(self, split: Split) -> None:
        self.split = split

    @abstractmethod
    def channel_weights(self, evidence: Evidence) -> np.ndarray:
        """Weights (B, K) of the channels."""

    def raw(self, evidence: Evidence) -> np.ndarray:
        """Unnormalised maps (B, h, w) on the grid of the target layer, NaN replaced by zero."""
        weights = np.nan_to_num(self.channel_weights(evidence)).astype(np.float32)
        maps = _weighted(evidence.activations, weights)
        if not np.isfinite(maps).all():  # rare, and looking first would cost as much as the sum
            maps = _weighted(np.nan_to_num(evidence.activations), weights)
        return np.maximum(maps, 0.0)


@lru_cache(maxsize=1)
def _workers() -> ThreadPoolExecutor:
    """Threads for work image by image: NumPy lets them run side by side, and a network leaves its cores idle meanwhile."""
    return ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1), "saliency")


def _weighted(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_k w_k A_k: (B, h, w, K), (B, K) -> (B, h, w)."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.matmul(activations.reshape(len(weights), -1, weights.shape[1]), weights[..., None]).reshape(activations.shape[:3])


class GradCAM(ClassActivationMap):
    """Grad-CAM, Selvaraju et al. 2017, eq. 1-2.

    w_k = (1/Z) sum_ij dS_c/dA_k^ij with S_c the logit of class c, Z the cells of the map.
    """

    name = "gradcam"

    def channel_weights(self, evidence: Evidence) -> np.ndarray:
        return np.stack(list(_workers().map(lambda gradients: gradients.mean(axis=(0, 1)), evidence.gradients)))


class GradCAMPlusPlus(ClassActivationMap):
    """Grad-CAM++, Chattopadhay et al. 2018, eq. 19.

    With g = dS_c/dA_k^ij: alpha_k^ij = g^2 / (2 g^2 + (sum_ab A_k^ab) g^3) and
    w_k = sum_ij alpha_k^ij ReLU(g). The paper takes Y = exp(S): its factor exp(S) cancels in alpha, and in w it is one
    positive number per image that normalisation removes; it is left out, because it overflows. Alpha is not normalised over
    the map. Where the denominator is zero, alpha is zero.
    """

    name = "gradcampp"

    def channel_weights(self, evidence: Evidence) -> np.ndarray:
        return np.stack(list(_workers().map(self._of_one, evidence.activations, evidence.gradients)))

    @staticmethod
    def _of_one(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """(h, w, K) -> (K,); image by image, because one fits into a processor's cache and a batch does not.

        Where g > 0, alpha ReLU(g) is g / (2 + (sum A) g): a square less to overflow or vanish.
        """
        positive = np.maximum(gradients, 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # infinite activations; zero denominators
            ratio = positive * activations.sum(axis=(0, 1), dtype=np.float64)
            ratio += 2.0
            undefined = None if ratio.all() else ratio == 0.0
            np.divide(positive, ratio, out=ratio)
        if undefined is not None:
            ratio[undefined] = 0.0
        return ratio.sum(axis=(0, 1))


class ScoreCAM(ClassActivationMap):
    """Score-CAM, Wang et al. 2020, algorithm 1.

    H_k = A_k upsampled to the image and scaled to [0, 1]; w = softmax_k of S_c(X o H_k) - S_c(0), with S_c the logit and X
    the grey image, so that what is masked becomes black background. S_c(0) is one number for all k, which softmax removes, so it is
    not computed. Channels that are constant over the map have no H_k; they get weight zero, exactly as a map that masks nothing should.

    On TensorFlow the masked images, after the first few slices, go through a faster form of the network with the same logits to rounding: its normalisations
    are folded into its convolutions (`xai.folding`), and on a CPU those of VGG need fewer products (`xai.winograd`).

    Masked images of a whole batch go through one buffer of `chunk` images, so memory grows neither with the channels nor the batch.

    Parameters
    ----------
    channels : int, optional
        None: all, as published. A number: only the channels with the largest spatial standard deviation of that image, an
        approximation that must be named where it is shown.
    """

    name = "scorecam"

    def __init__(self, split: Split, *, channels: int | None = None, chunk: int = CHUNK) -> None:
        super().__init__(split)
        self.channels, self.chunk = channels, chunk

    def channel_weights(self, evidence: Evidence) -> np.ndarray:
        usable = [self._usable(activations) for activations in evidence.activations]
        jobs = [(row, channel) for row, channels in enumerate(usable) for channel in channels]
        scores = np.full((len(usable), evidence.activations.shape[-1]), -np.inf)
        logits = self.split.logits_of_many(len(jobs) * evidence.images[0].size)
        any_count = keras.backend.backend() != "jax"  # which compiles each number of images anew
        chunks = max(1, math.ceil(len(jobs) / self.chunk))
        step = max(1, math.ceil(len(jobs) / chunks) if any_count else min(self.chunk, len(jobs)))
        buffer = np.zeros((step, *evidence.images.shape[1:]), np.float32)
        for start in range(0, len(jobs), step):
            part = jobs[start : start + step]
            for slot, (row, channel) in enumerate(part):
                _mask(evidence.images[row], evidence.activations[row, ..., channel], out=buffer[slot])
            rows, channels = np.transpose(part)
            answers = logits(buffer[: len(part)] if any_count else buffer)
            scores[rows, channels] = answers[np.arange(len(part)), evidence.classes[rows]]
        highest = np.max(scores, axis=1, keepdims=True)
        exponent = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
        return exponent / np.maximum(exponent.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def _usable(self, activations: np.ndarray) -> np.ndarray:
        """Numbers of the channels that vary over the map, ascending; of those, with `channels`, the most varied."""
        usable = np.flatnonzero(activations.max(axis=(0, 1)) > activations.min(axis=(0, 1)))
        if self.channels is not None and len(usable) > self.channels:
            spread = activations[..., usable].std(axis=(0, 1))
            usable = np.sort(usable[np.argsort(-spread, kind="stable")[: self.channels]])
        return usable


def _mask(image: np.ndarray, activation: np.ndarray, *, out: np.ndarray) -> None:
    """The image times the activation map, upsampled and scaled to [0, 1]."""
    mask = upsample(activation, image.shape)
    mask -= mask.min()
    mask /= max(mask.max(), 1e-12)
    np.multiply(image, mask, out=out)


def methods_for(split: Split, names: Sequence[str], *, scorecam_channels: int | None = None) -> list[ClassActivationMap]:
    """The named methods over one split."""
    makers = {
        "gradcam": lambda: GradCAM(split),
        "gradcampp": lambda: GradCAMPlusPlus(split),
        "scorecam": lambda: ScoreCAM(split, channels=scorecam_channels),
    }
    return [makers[name]() for name in names]


def explain(
    methods: Sequence[ClassActivationMap], images: np.ndarray, *, classes: np.ndarray | None = None, batch_size: int = 16
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Explain images batch by batch; the forward and backward pass of a batch serves all methods.

    Parameters
    ----------
    methods : sequence of ClassActivationMap
        All over the same `Split`.
    images : (N, S, S)
        Grey values 0-255; may be a memory map.
    classes : (N,) int, optional
        Class to explain; default the predicted one.

    Yields
    ------
    slice, dict of method name -> (B, S, S) float32
        Heatmaps in [0, 1], see `normalise`.
    """
    split = methods[0].split
    for start in range(0, len(images), batch_size):
        part = slice(start, min(start + batch_size, len(images)))
        batch = np.asarray(images[part], dtype=np.float32)
        wanted = None if classes is None else np.asarray(classes[part])
        activations, gradients, logits = split.activations_and_gradients(batch, wanted)
        chosen = logits.argmax(axis=1) if wanted is None else wanted
        evidence = Evidence(batch, activations, gradients, logits, chosen)
        yield part, {method.name: normalise(_upsample_all(method.raw(evidence), batch.shape[1:])) for method in methods}


def normalise(maps: np.ndarray) -> np.ndarray:
    """Scale each map (..., S, S) to [0, 1] by its own minimum and maximum; a constant map becomes zero.

    This hides magnitude: two maps of equal look may rest on very different evidence. `ClassActivationMap.raw` keeps it.
    """
    # float64 holds the span between any two numbers of float32, which float32 itself does not.
    maps = np.nan_to_num(np.asarray(maps, dtype=np.float32)).astype(np.float64)
    lowest = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - lowest
    return np.divide(maps - lowest, span, out=np.zeros_like(maps), where=span > 0).astype(np.float32)


def upsample(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, cell centres aligned (half-pixel convention), borders repeated; (h, w) -> (S, S)."""
    return cv2.resize(np.asarray(grid, np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _upsample_all(grids: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.stack([upsample(grid, shape) for grid in grids])


def randomise_from_top(model: keras.Model, share: float, *, seed: int) -> int:
    """Re-draw the weights of the top `share` of weighted layers in place (Adebayo et al. 2018, cascading randomisation).

    From the classification head towards the input; every kernel is permuted, which keeps its distribution; scales, shifts and
    running statistics of normalisation are permuted alike.

    Returns
    -------
    int
        How many layers were re-drawn.
    """
    weighted = [layer for layer in keras.Model(model.input, model.output["classification"]).layers if layer.weights]
    chosen = weighted[::-1][: round(share * len(weighted))]
    for number, layer in enumerate(chosen):
        draw = np.random.default_rng([seed, number])
        layer.set_weights([draw.permutation(value.ravel()).reshape(value.shape) for value in layer.get_weights()])
    return len(chosen)
