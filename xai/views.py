"""A slice asked about more than once, mirrored, turned and zoomed, and the answers averaged: test-time augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping

import cv2
import numpy as np


@dataclass(frozen=True)
class View:
    """How a slice is shown: larger or smaller about its middle, turned counter-clockwise, left and right swapped."""

    zoom: float = 1.0
    degrees: float = 0.0
    mirrored: bool = False

    def matrix(self, side: int) -> np.ndarray:
        """(2, 3) of OpenCV, from (column, row) of the slice to that of the view."""
        middle = (side - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), self.degrees, self.zoom)
        return matrix @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]], float) if self.mirrored else matrix

    def of(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (B, S, S) as this view shows them, black where it shows more than there is."""
        return self._warped(pictures, cv2.INTER_LINEAR)

    def undone(self, maps: np.ndarray) -> np.ndarray:
        """Maps (B, S, S) of the view, back on the pixels of the slice; 0 where the view did not show them."""
        return self._warped(maps, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def _warped(self, pictures: np.ndarray, how: int) -> np.ndarray:
        if self == View():
            return pictures
        side = pictures.shape[1]
        return np.stack([cv2.warpAffine(picture, self.matrix(side), (side, side), flags=how) for picture in pictures])

    def seen(self, side: int) -> np.ndarray:
        """(S, S) in [0, 1]: which pixels of the slice the view shows."""
        return self.undone(np.ones((1, side, side), np.float32))[0]


# Within what strong augmentation shows in training; taken as a whole, not one by one for what each brings.
VIEWS = (View(), View(mirrored=True), View(zoom=0.8), View(zoom=0.9), View(zoom=1.1), View(degrees=8), View(degrees=-8))


def averaged(
    answer: Callable[[np.ndarray], Mapping[str, np.ndarray]], images: np.ndarray, may_mirror: np.ndarray, views: tuple[View, ...] = VIEWS
) -> dict[str, np.ndarray]:
    """Mean answer over views.

    Parameters
    ----------
    answer : callable
        images (B, S, S) -> probabilities, "classification" (B, C) and "segmentation" (B, S, S), or one of them.
    images : (B, S, S)
    may_mirror : (B,) bool
        Slices of which the mirror image is as good; of the others the slice itself stands in for it.

    Returns
    -------
    dict
        As `answer` gives them. A pixel of the mask is averaged over the views that show it.
    """
    sums, weight = {}, np.zeros(images.shape[1:], np.float32)
    for view in views:
        shown, plain = view.of(images), View(view.zoom, view.degrees)
        if view.mirrored:
            shown = np.where(may_mirror[:, None, None], shown, plain.of(images))
        found = dict(answer(shown))
        if "segmentation" in found:
            back = view.undone(found["segmentation"])
            if view.mirrored:
                back = np.where(may_mirror[:, None, None], back, plain.undone(found["segmentation"]))
            found["segmentation"] = back
        for head, value in found.items():
            sums[head] = sums.get(head, 0) + value
        weight += plain.seen(images.shape[1])
    divisor = {"classification": len(views), "segmentation": weight}
    return {head: total / divisor[head] for head, total in sums.items()}
