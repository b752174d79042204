"""From the coordinates that a network reads in a slice to one pose of the slice's plane, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import least_squares

from xai.atlas_matching import PRIOR_MEAN, PRIOR_SD, matrices
from xai.atlas_network import SCALE_MM, as_input, build_network
from xai.atlas_synthesis import CELLS, PIXELS
from xai.paths import PLANES

WEIGHTS = Path(__file__).with_name("atlas_network.weights.h5")
# Errors of neighbouring cells are alike: a slice holds about so many independent ones.
INDEPENDENT_CELLS = 12.0
LEAST_BRAIN_CELLS = 12
OUTLIER = 3.0  # expected errors: beyond it a cell is trusted by less than half
ROUNDS = 4
STEPS = np.array([5.0, 0.05, 0.1, 0.1, 0.1, 0.03, 0.03, 0.05])


@dataclass(frozen=True)
class Reading:
    """What the network says of one slice, on CELLS x CELLS cells.

    Attributes
    ----------
    mni : (CELLS, CELLS, 3) mm
    expected_mm : (CELLS, CELLS) expected absolute error of a coordinate
    brain : (CELLS, CELLS) probability of brain
    planes : (4,) probabilities of `PLANES`, and of no head
    """

    mni: np.ndarray
    expected_mm: np.ndarray
    brain: np.ndarray
    planes: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A plane through a reading: pose (8,) as `atlas_matching.POSE`, its covariance, and how far the reading lies from it (mm, weighted)."""

    plane: str
    pose: np.ndarray
    covariance: np.ndarray
    residual_mm: float
    cells: int

    def draws(self, count: int, seed: int = 0) -> np.ndarray:
        """Poses (count, 8) from the posterior, the best one first."""
        spread = np.random.default_rng(seed).multivariate_normal(self.pose, self.covariance, count - 1, method="eigh")
        poses = np.concatenate([self.pose[None], spread])
        if self.plane == "sagittal":
            poses[:, 0] = np.abs(poses[:, 0])
        return poses


@lru_cache(maxsize=1)
def _network():
    from xai.network_split import compiled_call

    network = build_network()
    network.load_weights(WEIGHTS)
    return compiled_call(network)


def read(pictures: np.ndarray, network=None) -> list[Reading]:
    """Readings of square pictures (N, S, S) of any scale and size."""
    small = np.stack([cv2.resize(np.asarray(p, np.float32), (PIXELS, PIXELS), interpolation=cv2.INTER_AREA if p.shape[0] > PIXELS else cv2.INTER_LINEAR)
                      for p in pictures])  # fmt: skip
    found = (network or _network())(as_input(small))
    cells, logits = np.asarray(found["cells"], np.float64), np.asarray(found["plane"], np.float64)
    planes = np.exp(logits - logits.max(axis=1, keepdims=True))
    planes /= planes.sum(axis=1, keepdims=True)
    return [
        Reading(c[..., :3] * SCALE_MM, np.exp(np.clip(c[..., 3], -6, 2)) * SCALE_MM, 1 / (1 + np.exp(-c[..., 4])), p) for c, p in zip(cells, planes)
    ]


def fit(reading: Reading, plane: str, known: np.ndarray | None = None) -> Fit | None:
    """The pose whose points agree best with the reading where it sees brain; None where it sees too little.

    Reweighted least squares over `POSE` (Cauchy weights), in units of the expected error, with the priors of poses: rotation, tilts, field
    and aspect cannot run away from a reading that says little, nor follow a tumour that takes the network in.

    Parameters
    ----------
    known : (CELLS, CELLS), optional
        Share of each cell that may be used; less than one half leaves it out.
    """
    use = reading.brain > 0.5
    if known is not None:
        use &= known >= 0.5
    count = int(use.sum())
    if count < LEAST_BRAIN_CELLS:
        return None
    centre = (np.arange(CELLS) + 0.5) / CELLS
    rows, columns = np.meshgrid(centre, centre, indexing="ij")
    points = np.stack([rows[use], columns[use], np.ones(count)], axis=-1)
    mni, sigma = reading.mni[use], np.maximum(reading.expected_mm[use], 0.5)[:, None]
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    start = PRIOR_MEAN.copy()
    start[0] = np.average(mni[:, axis], weights=1 / sigma[:, 0])
    pose, trust = start, np.ones(count)
    for _ in range(ROUNDS):
        scale = np.sqrt(trust * INDEPENDENT_CELLS / count)[:, None] / sigma

        def residuals(pose: np.ndarray) -> np.ndarray:
            apart = (points @ matrices(pose[None], plane)[0].T - mni) * scale
            return np.concatenate([apart.ravel(), (pose[1:] - PRIOR_MEAN[1:]) / PRIOR_SD[1:]])

        found = least_squares(residuals, pose, x_scale=STEPS, max_nfev=30)
        pose = found.x
        apart = np.linalg.norm(points @ matrices(pose[None], plane)[0].T - mni, axis=1)
        trust = 1 / (1 + (apart / (OUTLIER * sigma[:, 0])) ** 2)
    covariance = np.linalg.inv(found.jac.T @ found.jac + 1e-9 * np.eye(len(start)))
    return Fit(plane, pose, covariance, float(np.average(apart, weights=1 / sigma[:, 0])), count)
