"""What `training.augment: strong` adds: heads of another shape, and pictures of another scanner."""

from __future__ import annotations

import cv2
import numpy as np

KNOTS = 6  # a side, of the grid whose shifts bend a picture; a sixth of a head is about the size of a lobe
BEND = 0.015  # standard deviation of a knot's shift, in sides of the picture


def bend(pictures: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Pictures (B, S, S, channels) seen through a smooth random displacement of a few pixels; all channels move as one."""
    side = pictures.shape[1]
    rows, columns = np.indices((side, side), dtype=np.float32)
    bent = np.empty_like(pictures)
    for picture, out in zip(pictures, bent):
        shift = cv2.resize(draw.normal(0, BEND * side, (KNOTS, KNOTS, 2)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        out[...] = cv2.remap(picture, columns + shift[..., 1], rows + shift[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return bent


def another_scanner(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Images (B, S, S, 1) in 0-255, each by chance with a field of uneven sensitivity, fewer pixels, a blur or noise; not clipped."""
    side = images.shape[1]
    changed = np.array(images, np.float32)
    for image in changed[..., 0]:
        if draw.random() < 0.5:
            field = draw.normal(0, 0.25, (3, 3)).astype(np.float32)
            image *= np.exp(cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC))
        if draw.random() < 0.25:
            fewer = int(side / draw.uniform(1, 2))
            image[...] = cv2.resize(cv2.resize(image, (fewer, fewer), interpolation=cv2.INTER_AREA), (side, side), interpolation=cv2.INTER_LINEAR)
        if draw.random() < 0.25:
            image[...] = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.3, 1.2) * side / 224)
        if draw.random() < 0.5:
            image += draw.normal(0, draw.uniform(0, 12), image.shape).astype(np.float32)
    return changed
