"""From the coordinates that a network reads in a slice to one pose of the slice's plane, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from xai.atlas_poses import PRIOR_MEAN, PRIOR_SD, matrices, mirrored
from xai.atlas_reading import CELLS, Reading

# Errors of neighbouring cells are alike: a slice holds about so many independent ones.
INDEPENDENT_CELLS = 12.0
LEAST_BRAIN_CELLS = 12
FREEDOM = 4.0
INFLATION = 3.0  # of standard deviations: real heads differ from the drawn ones; chosen on half of the anchor's patients
OUTLIER = 3.0  # expected errors: beyond it a cell is trusted by less than half
ROUNDS = 4
STEPS = np.array([5.0, 0.05, 0.1, 0.1, 0.1, 0.03, 0.03, 0.05])
NUDGE = 1e-6  # of a step, to find slopes


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
        return mirrored(np.concatenate([self.pose[None], spread]), self.plane)

    def log_density(self, poses: np.ndarray) -> np.ndarray:
        """How well poses (P, 8) agree with the fit, 0 for the fit itself: of Student's t with `FREEDOM` degrees of freedom, since readings
        of some slices are wrong by far more than their covariance says."""
        distance = np.einsum("pi,ij,pj->p", poses - self.pose, np.linalg.inv(self.covariance), poses - self.pose)
        return -0.5 * (FREEDOM + len(self.pose)) * np.log1p(distance / FREEDOM)


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

        def residuals(poses: np.ndarray) -> np.ndarray:
            apart = (points @ matrices(poses, plane).transpose(0, 2, 1) - mni) * scale
            return np.concatenate([apart.reshape(len(poses), -1), (poses[:, 1:] - PRIOR_MEAN[1:]) / PRIOR_SD[1:]], axis=1)

        def slopes(pose: np.ndarray) -> np.ndarray:
            # Of all numbers of the pose at once: SciPy, left to it, asks for one after the other.
            return (residuals(pose + np.diag(NUDGE * STEPS)) - residuals(pose[None])).T / (NUDGE * STEPS)

        found = least_squares(lambda pose: residuals(pose[None])[0], pose, slopes, x_scale=STEPS, max_nfev=30)
        pose = found.x
        apart = np.linalg.norm(points @ matrices(pose[None], plane)[0].T - mni, axis=1)
        trust = 1 / (1 + (apart / (OUTLIER * sigma[:, 0])) ** 2)
    covariance = np.linalg.inv(found.jac.T @ found.jac + 1e-9 * np.eye(len(start)))
    return Fit(plane, pose, covariance * INFLATION**2, float(np.average(apart, weights=1 / sigma[:, 0])), count)
