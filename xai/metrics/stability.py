"""Does a heatmap stay where it was when the slice changes a little? Small shifts, noise and brightness, and how alike the maps remain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

from xai.metrics.faithfulness import rank_similarity

MapsOf = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Change:
    """One small change of a slice.

    Attributes
    ----------
    shift : float
        To the right and down, as a share of the side, at least one pixel; what leaves the image is lost and black follows.
    noise : float
        Standard deviation of Gaussian noise as a share of the grey scale.
    gain : float
        Factor on the grey values.
    """

    name: str
    shift: float = 0.0
    noise: float = 0.0
    gain: float = 1.0

    def pixels(self, side: int) -> int:
        """The shift in pixels."""
        return max(1, round(self.shift * side)) if self.shift else 0

    def apply(self, images: np.ndarray, *, seed: int) -> np.ndarray:
        """Changed images (N, S, S) float32 in 0-255; noise depends on the seed and the slice's place alone."""
        changed = np.asarray(images, np.float32) * np.float32(self.gain)
        if self.noise:
            changed = changed + np.stack([
                np.random.default_rng([seed, number]).normal(0, 255 * self.noise, image.shape).astype(np.float32)
                for number, image in enumerate(changed)
            ])  # fmt: skip
        pixels = self.pixels(images.shape[1])
        if pixels:
            moved = np.zeros_like(changed)
            moved[:, pixels:, pixels:] = changed[:, :-pixels, :-pixels]
            changed = moved
        return np.clip(changed, 0, 255)


CHANGES = (
    Change("shift 1 %", shift=0.01), Change("shift 3 %", shift=0.03),
    Change("noise 2 %", noise=0.02), Change("noise 5 %", noise=0.05),
    Change("10 % darker", gain=0.9),
)  # fmt: skip


def stability(maps_of: MapsOf, images: np.ndarray, *, changes: Sequence[Change] = CHANGES, seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """Rank correlation of each slice's heatmap with that of the changed slice, where both show the same tissue.

    A shifted slice's map is read where its content moved to, so that a method that follows the content scores one. Maps that do not look
    at the slice score one under noise and less under shifts; maps that are made of noise score zero.

    Parameters
    ----------
    maps_of : callable
        Images (N, S, S) -> method -> heatmaps (N, S, S).
    images : (N, S, S) in 0-255

    Returns
    -------
    dict
        (method, change) -> float (N,) in [-1, 1]; 0 where a map has no ranks because it is constant.
    """
    original = maps_of(np.asarray(images, np.float32))
    result = {}
    for change in changes:
        pixels = change.pixels(images.shape[1])
        for name, maps in maps_of(change.apply(images, seed=seed)).items():
            kept = images.shape[1] - pixels
            result[name, change.name] = np.nan_to_num(rank_similarity(original[name][:, :kept, :kept], maps[:, pixels:, pixels:]))
    return result
