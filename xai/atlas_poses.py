"""Poses of a slice in MNI152 space: eight numbers, the map from pixels to millimetres they stand for, and how ordinary they are."""

from __future__ import annotations

import numpy as np

# Position of the brain's centre along the plane's axis (mm); log of the millimetres across the image; radians of rotation in
# the plane, and of rows and columns out of it; row and column of the brain's centre (fraction of the side); log aspect.
POSE = ("through", "log_field", "rotation", "row_tilt", "column_tilt", "row", "column", "log_aspect")
PRIOR_MEAN = np.array([0.0, np.log(235.0), 0.0, 0.0, 0.0, 0.5, 0.5, 0.0])
# Fields of clinical heads are 200-280 mm; slices are often tilted along the skull base or the pituitary stalk, rarely sideways.
PRIOR_SD = np.array([np.inf, 0.13, 0.10, 0.26, 0.09, 0.17, 0.17, 0.06])

# Through-plane axis and direction, then what rows and columns run along, in RAS axes: axial front up and radiological,
# coronal top up and radiological, sagittal top up and nose to the left.
FRAMES = {"axial": (2, (1, -1), (0, -1)), "coronal": (1, (2, -1), (0, -1)), "sagittal": (0, (2, -1), (1, -1))}
RANGE_MM = {"axial": (-55.0, 72.0), "coronal": (-92.0, 62.0), "sagittal": (0.0, 64.0)}  # sagittal: the template mirrors itself
BRAIN_CENTER_MM = np.array([0.0, -18.0, 5.0])


def matrices(poses: np.ndarray, plane: str) -> np.ndarray:
    """Maps from (row, column, 1), in fractions of the image's side, to MNI152 mm; (P, 8) -> (P, 3, 3)."""
    through, log_field, rotation, row_tilt, column_tilt, row, column, log_aspect = poses.T[:, :, None]
    normal, down, right = _directions(plane)
    along_rows = np.cos(rotation) * down + np.sin(rotation) * right + np.sin(row_tilt) * normal
    along_columns = np.cos(rotation) * right - np.sin(rotation) * down + np.sin(column_tilt) * normal
    along_rows *= np.exp(log_field + log_aspect / 2) / np.linalg.norm(along_rows, axis=1, keepdims=True)
    along_columns *= np.exp(log_field - log_aspect / 2) / np.linalg.norm(along_columns, axis=1, keepdims=True)
    center = BRAIN_CENTER_MM * (1 - normal) + through * normal
    return np.stack([along_rows, along_columns, center - row * along_rows - column * along_columns], axis=2)


def _directions(plane: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    normal, (row_axis, row_sign), (column_axis, column_sign) = FRAMES[plane]
    axes = np.eye(3)
    return axes[normal], row_sign * axes[row_axis], column_sign * axes[column_axis]


def log_prior(poses: np.ndarray, plane: str) -> np.ndarray:
    """How ordinary a pose is: 0 for the most ordinary, and falling; (P, 8) -> (P,)."""
    low, high = RANGE_MM[plane]
    beyond = np.clip(poses[:, 0], low - 3, high + 3) - poses[:, 0]
    return -0.5 * (((poses - PRIOR_MEAN) / PRIOR_SD) ** 2).sum(axis=1) - 0.5 * (beyond / 2) ** 2


def mirrored(poses: np.ndarray, plane: str) -> np.ndarray:
    """Sagittal poses stay on one side of the template's plane of symmetry; changed in place."""
    if plane == "sagittal":
        poses[:, 0] = np.abs(poses[:, 0])
    return poses
