"""Tumours of other patients put into a slice: more places and pairs of head and tumour than a few patients have.

The idea of TumorCP (Yang et al. 2021) and CarveMix (Zhang et al. 2023), on slices: a donor's tumour, its outline and a rim of what lies around it.
"""

from __future__ import annotations

import cv2
import numpy as np

from xai.data.dataset import Dataset

RIM = 0.02  # of the side: how far around a tumour its donor's picture is taken along, so that dark and bright rims come with it
HEAD = 15  # grey value below which a pixel is air
LEAST_IN_HEAD = 0.98  # of a transplanted tumour; else it is left out
TRIES = 6  # donors asked one after the other until a tumour falls within the head and beside the slice's own
SHIFT, SIZE = 0.04, (0.8, 1.2)  # standard deviation of a shift, in sides; smallest and largest scale


class Transplants:
    """Gives slices, by chance, the tumour of another patient with the same class, seen in the same plane.

    The class stays what it was, and the tumour lies about where the donor's lay (or mirrored, where that may be), so that what place and
    plane say of the class is not washed out. The slice keeps its own tumour: the mask is that of both.

    Parameters
    ----------
    rows : array of int
        The slices of the dataset that may give: the training ones.
    share : float
        Of the slices that receive one, where a donor is found and the tumour falls within the head.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray, share: float):
        index = dataset.index.iloc[rows]
        self.dataset, self.share = dataset, share
        self.kind = dict(zip(rows, zip(index["label"], index["plane"])))
        self.patient = dict(zip(rows, index["patient"]))
        self.donors: dict[tuple[str, str], list[int]] = {}
        for row, kind in self.kind.items():
            self.donors.setdefault(kind, []).append(row)

    def __call__(self, images: np.ndarray, masks: np.ndarray, rows: np.ndarray, may_flip: np.ndarray, draw: np.random.Generator):
        """Images (B, S, S, 1) in 0-255 and masks (B, S, S, 1) of `rows`, copied and changed."""
        images, masks = images.copy(), masks.copy()
        for number, row in enumerate(rows):
            if draw.random() >= self.share:
                continue
            others = [other for other in self.donors[self.kind[row]] if self.patient[other] != self.patient[row]]
            if not others:
                continue
            for donor in draw.choice(others, min(TRIES, len(others)), replace=False):
                flip = may_flip[number] and draw.random() < 0.5
                pair = [np.asarray(array[donor], np.float32)[:, :: -1 if flip else 1] for array in (self.dataset.images, self.dataset.masks)]
                both = transplant(images[number, ..., 0], masks[number, ..., 0], *pair, draw)
                if both is not None:
                    images[number, ..., 0], masks[number, ..., 0] = both
                    break
        return images, masks


def transplant(image: np.ndarray, mask: np.ndarray, donor: np.ndarray, tumour: np.ndarray, draw: np.random.Generator):
    """A slice (S, S) in 0-255 with the donor's tumour, shifted and scaled a little, in the slice's own greys; and the mask of both.

    None where the tumour would lie outside the head or on the slice's own.
    """
    if not tumour.any():
        return None
    side = len(image)
    middle = np.array([axis.mean() for axis in np.nonzero(tumour)][::-1])
    scale = draw.uniform(*SIZE)
    move = np.float32([[scale, 0, 0], [0, scale, 0]])
    move[:, 2] = (1 - scale) * middle + draw.normal(0, SHIFT * side, 2)
    donor = cv2.warpAffine(np.ascontiguousarray(donor), move, (side, side), flags=cv2.INTER_LINEAR)
    tumour = (cv2.warpAffine(np.ascontiguousarray(tumour, np.float32), move, (side, side), flags=cv2.INTER_LINEAR) > 0.5).astype(np.float32)
    wide = cv2.dilate(tumour, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(RIM * side) + 1,) * 2))
    rim = (wide > 0) & (tumour == 0) & (donor > HEAD) & (image > HEAD)
    placed = tumour > 0
    if not rim.any() or (image[placed] > HEAD).mean() < LEAST_IN_HEAD or mask[wide > 0].any():
        return None
    gain = np.clip(np.median(image[rim]) / np.median(donor[rim]), 0.5, 2)
    blend = np.maximum(cv2.GaussianBlur(wide, (0, 0), RIM * side / 2), tumour)
    return np.clip(image + blend * (gain * donor - image), 0, 255), np.maximum(mask, tumour)
