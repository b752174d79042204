"""Does a heatmap show what the network uses? Insertion, deletion, information curves, and similarity of heatmaps.

Nothing here knows a framework: a network is a function ``predict(images (B, S, S) float32, 0-255) -> probabilities
(B, classes)``. Images are grey values 0-255 (N, S, S), heatmaps (N, S, S), `classes` (N,) the class number each heatmap
explains.

Every curve reveals pixels in the heatmap's order. Class activation maps hold large areas of exact zeros; such ties are
broken at random (seeded), since the raster order would favour the top of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

Predict = Callable[[np.ndarray], np.ndarray]

FRACTIONS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
KEPT_FRACTION = 0.01  # pixels that survive in the blurred image of the information curves
CURVE_POINTS = 201  # x grid on which information curves of different images are brought together


@dataclass(frozen=True)
class InsertionDeletion:
    """Curves of one method: `x` (steps+1,) share of pixels touched; the others per image, (N, steps+1) or (N,)."""

    x: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray
    insertion_auc: np.ndarray
    deletion_auc: np.ndarray


@dataclass(frozen=True)
class InformationCurves:
    """Curves of one method on the common grid `x` (K,), 0 the blurred and 1 the original image.

    `sic_curves` and `aic_curves` (N, K) hold NaN in the rows of dropped images; `sic` and `aic` (K,) are the medians of
    the kept ones, with their areas; `sic_images` and `aic_images` count the kept.
    """

    x: np.ndarray
    sic: np.ndarray
    aic: np.ndarray
    sic_auc: float
    aic_auc: float
    sic_images: int
    aic_images: int
    sic_curves: np.ndarray
    aic_curves: np.ndarray


def insertion_deletion(
    predict: Predict,
    images: np.ndarray,
    heatmaps: np.ndarray,
    classes: np.ndarray,
    *,
    steps: int = 32,
    blur_fraction: float = 1 / 16,
    batch_size: int = 64,
    seed: int = 0,
) -> InsertionDeletion:
    """Insertion and deletion curves (Petsiuk et al. 2018, sec. 4.3).

    Deletion blackens pixels from the most salient on and follows the class's probability: a low area is good.
    Insertion starts from a blurred image and restores the same pixels: a high area is good. The original blurs with a
    sigma of 5 pixels at 224, which leaves a brain tumour in plain view; here sigma is `blur_fraction` of the side (14 at
    224), enough to hide it.

    Parameters
    ----------
    steps : int, default 32
        Number of equal portions of the image; ``2 * N * (steps + 1)`` predictions are made, `batch_size` at a time.
    """
    images, heatmaps, classes = _checked(images, heatmaps, classes)
    counts = np.linspace(0, images[0].size, steps + 1).round().astype(int)
    ranks = _ranks(heatmaps, seed)
    sigma = blur_fraction * images.shape[1]
    blurred = gaussian_filter(images.astype(np.float32), (0, sigma, sigma))
    black = np.broadcast_to(np.float32(0), images.shape)

    def curve(shown: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        probabilities = [predict(batch) for batch in _blends(shown, hidden, ranks, counts, batch_size)]
        probabilities = np.concatenate(probabilities).reshape(len(images), steps + 1, -1)
        return np.take_along_axis(probabilities, classes[:, None, None], axis=2)[..., 0].astype(float)

    x = counts / images[0].size
    insertion, deletion = curve(images, blurred), curve(black, images)
    return InsertionDeletion(x, insertion, deletion, np.trapezoid(insertion, x), np.trapezoid(deletion, x))


def information_curves(
    predict: Predict,
    images: np.ndarray,
    heatmaps: np.ndarray,
    classes: np.ndarray,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    information: str = "compressed",
    batch_size: int = 64,
) -> InformationCurves:
    """Softmax and accuracy information curves, SIC and AIC (Kapishnikov et al. 2019, sec. 4.1).

    Each image is reduced to a random 1 % of its pixels and filled by interpolation, then the top fractions of salient
    pixels are restored. x is the information of such an image, normalised between blurred and original; y is the
    class's probability normalised the same way (SIC), or whether the class is the largest (AIC). As in the authors'
    code, (0, 0) and (1, 1) are added, both coordinates are clipped to [0, 1] and only grow, and an image is dropped
    where the blurred version scores at least as well as the original or holds at least as much information.

    Two deviations: restored pixels are set into the blurred image, which is not interpolated anew; and a pixel outside
    the interpolation's hull takes its nearest neighbour.

    Parameters
    ----------
    fractions : sequence of float
        Shares of pixels restored, ascending.
    information : {"compressed", "entropy"}
        ``"compressed"``: bytes as PNG. ``"entropy"``: Shannon entropy of the 256 grey values. An MRI slice is largely
        black, and interpolation turns its few grey values into many: on real slices the blurred image then has the higher
        entropy in about four of five cases, all of which drop out. The compressed size has no such trouble.
    """
    images, heatmaps, classes = _checked(images, heatmaps, classes)
    if information not in _INFORMATION:
        raise ValueError(f"Unknown information measure {information!r}; expected one of {', '.join(_INFORMATION)}.")
    measure, pixels = _INFORMATION[information], images[0].size
    counts = np.r_[0, np.round(np.asarray(fractions) * pixels).astype(int), pixels]
    batches = _blends(images, sparse_blur(images, seed=seed), _ranks(heatmaps, seed), counts, batch_size)
    results = [(predict(batch), [measure(image) for image in _as_bytes(batch)]) for batch in batches]
    probabilities = np.concatenate([result[0] for result in results]).reshape(len(images), len(counts), -1)
    bits = np.concatenate([result[1] for result in results]).reshape(len(images), len(counts)).astype(float)
    softmax = np.take_along_axis(probabilities, classes[:, None, None], axis=2)[..., 0]
    x = np.linspace(0, 1, CURVE_POINTS)
    sic_curves = _normalised_curves(x, bits, softmax)
    aic_curves = _normalised_curves(x, bits, probabilities.argmax(axis=2) == classes[:, None])
    sic, aic = _median(sic_curves), _median(aic_curves)
    return InformationCurves(
        x=x,
        sic=sic,
        aic=aic,
        sic_auc=float(np.trapezoid(sic, x)),
        aic_auc=float(np.trapezoid(aic, x)),
        sic_images=int(np.isfinite(sic_curves[:, 0]).sum()),
        aic_images=int(np.isfinite(aic_curves[:, 0]).sum()),
        sic_curves=sic_curves,
        aic_curves=aic_curves,
    )


def sparse_blur(images: np.ndarray, *, kept_fraction: float = KEPT_FRACTION, seed: int = 0) -> np.ndarray:
    """Keep a random share of each image's pixels and fill the rest linearly, nearest outside their hull.

    The kept pixels of image i depend on the seed and i alone, so every method sees the same blurred images.

    Returns
    -------
    array float32 (N, S, S), rounded to whole grey values so that information is counted as in the original.
    """
    grid = np.moveaxis(np.indices(images.shape[1:]), 0, -1)  # (S, S, 2)
    count = max(8, round(kept_fraction * images[0].size))  # fewer would hardly span a triangle
    blurred = np.empty(images.shape, np.float32)
    for number, image in enumerate(images):
        kept = np.random.default_rng([seed, number]).choice(image.size, count, replace=False)
        places, values = grid.reshape(-1, 2)[kept], image.reshape(-1)[kept].astype(float)
        linear = LinearNDInterpolator(places, values)(grid)
        nearest = NearestNDInterpolator(places, values)(grid)
        blurred[number] = np.rint(np.where(np.isnan(linear), nearest, linear))
        blurred[number].reshape(-1)[kept] = values
    return blurred


def rank_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman rank correlation of two stacks of heatmaps (N, S, S), float (N,); NaN where a heatmap is constant.

    Used by the sanity check of Adebayo et al. 2018: a heatmap that keeps its ranks when the network's weights are
    replaced by random ones does not depend on what was learned.
    """
    ranks = [rankdata(stack.reshape(len(stack), -1).astype(np.float64), axis=1) for stack in (first, second)]
    ranks = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    scale = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.where(scale > 0, (ranks[0] * ranks[1]).sum(axis=1) / scale, np.nan)


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) of two stacks of heatmaps in [0, 1], float (N,)."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    return np.array([structural_similarity(one, other, data_range=1.0) for one, other in zip(first, second)])


def _checked(images: np.ndarray, heatmaps: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    images, heatmaps, classes = np.asarray(images), np.asarray(heatmaps), np.asarray(classes)
    if images.ndim != 3 or not images.size or images.min() < 0 or not 1 < images.max() <= 255:
        found = f"{images.shape} with values up to {images.max():g}" if images.size else f"{images.shape}"
        raise ValueError(f"Images must be grey values (N, S, S) on the scale 0-255, but are {found}; do not rescale them.")
    if heatmaps.shape != images.shape or classes.shape != images.shape[:1]:
        raise ValueError(
            f"Images, heatmaps and classes must match, but have the shapes {images.shape}, {heatmaps.shape} and {classes.shape}."
        )
    if not np.isfinite(heatmaps).all():
        raise ValueError("A heatmap holds values that are not finite, so its pixels have no order; expected [0, 1].")
    return images, heatmaps, classes


def _ranks(heatmaps: np.ndarray, seed: int) -> np.ndarray:
    """Place of each pixel in its heatmap, 0 the most salient, ties in random order; int32 (N, S, S)."""
    ranks = np.empty(heatmaps.shape, np.int32)
    for number, heatmap in enumerate(heatmaps):
        values = heatmap.reshape(-1)
        tie_break = np.random.default_rng([seed, number]).permutation(values.size)
        order = np.lexsort((tie_break, -values))
        ranks[number].reshape(-1)[order] = np.arange(values.size)
    return ranks


def _blends(
    shown: np.ndarray, hidden: np.ndarray, ranks: np.ndarray, counts: np.ndarray, batch_size: int
) -> Iterator[np.ndarray]:
    """Images whose first `count` pixels by rank come from `shown`, the rest from `hidden`, float32 (B, S, S).

    They come image by image, within an image count by count, in batches that cross images: one buffer's memory.
    """
    image_number, step = (index.reshape(-1) for index in np.indices((len(shown), len(counts))))
    for begin in range(0, len(step), batch_size):
        number, count = image_number[begin : begin + batch_size], counts[step[begin : begin + batch_size]]
        yield np.where(ranks[number] < count[:, None, None], shown[number], hidden[number]).astype(np.float32)


def _as_bytes(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _compressed_bytes(image: np.ndarray) -> int:
    return cv2.imencode(".png", image)[1].size


def _entropy_bits(image: np.ndarray) -> float:
    share = np.bincount(image.reshape(-1), minlength=256) / image.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


_INFORMATION: dict[str, Callable[[np.ndarray], float]] = {"compressed": _compressed_bytes, "entropy": _entropy_bits}


def _normalised_curves(x: np.ndarray, information: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Curves (N, K) on the grid `x`; `information`, `scores` (N, T) run from the blurred (first) to the original (last)."""
    scores = scores.astype(float)
    curves = np.full((len(scores), len(x)), np.nan)
    kept = (scores[:, -1] > scores[:, 0]) & (information[:, -1] > information[:, 0])
    for number in np.flatnonzero(kept):
        curve_x, curve_y = _growing(information[number]), _growing(scores[number])
        curves[number] = np.interp(x, curve_x, curve_y)
    return curves


def _growing(values: np.ndarray) -> np.ndarray:
    """Scale so that the first value is 0 and the last 1, clip to [0, 1], and let it only grow."""
    return np.maximum.accumulate(np.clip((values - values[0]) / (values[-1] - values[0]), 0, 1))


def _median(curves: np.ndarray) -> np.ndarray:
    """Median over the kept images; NaN everywhere if all were dropped."""
    kept = curves[np.isfinite(curves[:, 0])]
    return np.median(kept, axis=0) if len(kept) else np.full(curves.shape[1], np.nan)
