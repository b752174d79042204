"""What a small network reads in a slice: for every part of it the place in MNI152, how sure that is, and whether it is brain.

The network (`xai.atlas_network`) is trained by ``python -m xai.atlas_training`` and stored as folded convolutions in ``atlas_network.npz``;
here it is only applied, in NumPy, so that placing a slice needs no TensorFlow. On its deepest features stands a check whether there is a head.
Where its weights come from says ``atlas_network.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from xai.atlas_poses import PRIOR_MEAN
from xai.atlas_reference import CONTRAST_MM, local_contrast

WEIGHTS = Path(__file__).with_name("atlas_network.npz")
PIXELS, CELLS = 96, 24  # sides of the picture and of the grid on which coordinates are read
SCALE_MM = 60.0  # coordinates are learned as multiples of it
FILTERS = (24, 48, 80, 112)


@dataclass(frozen=True)
class Reading:
    """What the network says of one slice, on CELLS x CELLS cells.

    Attributes
    ----------
    mni : ndarray, shape (CELLS, CELLS, 3)
        Millimetres; in sagittal slices x >= 0.
    expected_mm : ndarray, shape (CELLS, CELLS)
        Expected absolute error of a coordinate.
    brain : ndarray, shape (CELLS, CELLS)
        Probability of brain.
    planes : ndarray, shape (4,)
        Probabilities of `xai.paths.PLANES`, and of no head.
    head_log_odds : float
        Log odds of a head by the check that was trained on many other pictures (`xai.atlas_strangers`).
    """

    mni: np.ndarray
    expected_mm: np.ndarray
    brain: np.ndarray
    planes: np.ndarray
    head_log_odds: float = np.inf

    @property
    def unsure_mm(self) -> float:
        """Median of the expected error where brain is read; infinite where none is."""
        seen = self.expected_mm[self.brain > 0.5]
        return float(np.median(seen)) if len(seen) else np.inf

    @property
    def undecided(self) -> float:
        """Mean entropy (nats) of brain or not, over all cells: 0 where all are sure, log 2 where none is."""
        brain = np.clip(self.brain, 1e-6, 1 - 1e-6)
        return float(-np.mean(brain * np.log(brain) + (1 - brain) * np.log(1 - brain)))


def read(picture: np.ndarray, known: np.ndarray | None = None) -> Reading:
    """The shipped network's reading of a square slice (S, S) of any scale and size; what is not `known` (S, S), 0 or 1, it does not see."""
    reduce = cv2.INTER_AREA if len(picture) > PIXELS else cv2.INTER_LINEAR
    known = np.ones(picture.shape, np.float32) if known is None else np.asarray(known, np.float32)
    share = cv2.resize(known, (PIXELS, PIXELS), interpolation=reduce)
    small = cv2.resize(np.asarray(picture, np.float32) * known, (PIXELS, PIXELS), interpolation=reduce) / np.maximum(share, 0.05)
    cells, plane, pooled = forward(_weights(), as_input(small[None], share[None])[0])
    return as_reading(cells, plane, float(pooled @ _weights()["kernel_head"] + _weights()["bias_head"][0]))


def as_reading(cells: np.ndarray, plane: np.ndarray, head_log_odds: float = np.inf) -> Reading:
    """The network's raw answers, (CELLS, CELLS, 5) and (4,), in millimetres and probabilities."""
    cells, odds = np.asarray(cells, np.float64), np.exp(np.asarray(plane, np.float64) - np.max(plane))
    expected = np.exp(np.clip(cells[..., 3], -6, 2)) * SCALE_MM
    return Reading(cells[..., :3] * SCALE_MM, expected, 1 / (1 + np.exp(-cells[..., 4])), odds / odds.sum(), head_log_odds)


def as_input(pictures: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Pictures (N, PIXELS, PIXELS) of any scale -> (N, PIXELS, PIXELS, 3): signal to [0, 1] by its 99th percentile, local contrast, and 1 where a
    pixel is known. Less than half of it `known`, a pixel is not, and shows nothing."""
    known = (np.ones(pictures.shape) if known is None else known >= 0.5).astype(np.float32)
    pictures = pictures * known
    top = np.maximum(np.percentile(pictures, 99, axis=(1, 2), keepdims=True), 1e-6)
    signal = np.clip(pictures / top, 0, 1).astype(np.float32)
    sigma = CONTRAST_MM * PIXELS / np.exp(PRIOR_MEAN[1])
    contrast = np.stack([local_contrast(picture, sigma, part) for picture, part in zip(signal, known)])
    return np.stack([signal, np.clip(contrast, -4, 4) / 2, known], axis=-1)


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    with np.load(WEIGHTS) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def forward(weights: dict[str, np.ndarray], picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw answers of the network to one input (PIXELS, PIXELS, 3), wired as `xai.atlas_network.build_network`, and its deepest features.

    Parameters
    ----------
    weights : dict
        ``kernel_N``, ``bias_N`` of the 3 x 3 convolutions in order, and of ``cells`` and ``plane``.

    Returns
    -------
    cells : ndarray, shape (CELLS, CELLS, 5)
    plane : ndarray, shape (4,)
    pooled : ndarray, shape (2 * FILTERS[-1],)
        Mean and maximum of each of the deepest features over the picture.
    """
    numbers = iter(range(len(weights)))

    def block(x: np.ndarray, stride: int = 1) -> np.ndarray:
        number = next(numbers)
        return np.maximum(_convolve(x, weights[f"kernel_{number}"], stride) + weights[f"bias_{number}"], 0)

    def joined(x: np.ndarray, skip: np.ndarray) -> np.ndarray:
        return np.concatenate([cv2.resize(x, skip.shape[1::-1], interpolation=cv2.INTER_LINEAR), skip], axis=-1)

    line = np.linspace(-1, 1, PIXELS, dtype=np.float32)
    x = block(np.dstack([picture, *np.meshgrid(line, line, indexing="ij")]).astype(np.float32), 2)
    kept = []
    for _ in FILTERS[1:]:
        x = block(block(x, 2))
        kept.append(x)
    top = block(block(x, 2))
    pooled = np.concatenate([top.mean(axis=(0, 1)), top.max(axis=(0, 1))])
    plane = pooled[: FILTERS[-1]] @ weights["kernel_plane"] + weights["bias_plane"]
    x = block(np.concatenate([x, cv2.resize(top, x.shape[1::-1], interpolation=cv2.INTER_LINEAR)], axis=-1))
    for skip in (kept[1], kept[0]):
        x = block(joined(x, skip))
    return block(x) @ weights["kernel_cells"] + weights["bias_cells"], plane, pooled


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """(H, W, C), (3, 3, C, F) -> (H / stride, W / stride, F), padded as Keras pads "same": nine products of matrices."""
    first = 1 if stride == 1 else 0  # with stride 2 and an even side Keras adds a row and column at the end only
    padded = np.pad(x, [(first, 1), (first, 1), (0, 0)])
    rows, columns = (size // stride for size in x.shape[:2])
    return sum(
        padded[row : row + stride * rows : stride, column : column + stride * columns : stride] @ kernel[row, column]
        for row in range(3) for column in range(3)
    )  # fmt: skip
