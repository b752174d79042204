"""How far off the place of a slice and the names under a mask are, on slices whose position in MNI152 is known."""

from __future__ import annotations

from typing import Iterable

import numpy as np
import pandas as pd

from xai.atlas import (
    AXIS, LABEL_THRESHOLD, MIDLINE_MM, Candidate, NotLocalisable, Place, anatomy_at, load_atlas, localise, name_regions, positions,
)  # fmt: skip
from xai.atlas_poses import FRAMES


def validate(cases: Iterable[tuple[str, np.ndarray, np.ndarray, str, np.ndarray]]) -> pd.DataFrame:
    """Error of place and name on slices whose MNI position is known.

    Parameters
    ----------
    cases : iterable of (case, image (S, S), mask (S, S), plane, mni (S, S, 3))
        `mni` holds the true MNI152 mm of each pixel; the mask is left out of the comparison, and must not be empty.

    Returns
    -------
    DataFrame
        One row per case. `true_mm`, `found_mm`: coordinate of the mask's centroid along the plane's axis (sagittal: |x|),
        found at the best candidate; `through_plane_mm`, `in_plane_mm`: distances at that centroid; `top1`, `top3`: is the true
        region there the first, or among the first three named (missing where the atlas has no region of at least 25 %)?
        `true_region`, `named` and `hemisphere_right` (missing in sagittal slices and within 3 mm of the midline) say more.
        Slices that could not be placed have missing values.
    """
    return pd.DataFrame([_validate_one(*case) for case in cases])


def _validate_one(case: str, image: np.ndarray, mask: np.ndarray, plane: str, mni: np.ndarray) -> dict:
    axis = AXIS[plane]
    truth = np.asarray(mni, float)[np.asarray(mask) > 0].mean(axis=0)
    row = {"case": case, "plane": plane, "true_mm": abs(truth[0]) if axis == 0 else truth[axis]}
    names = ("found_mm", "through_plane_mm", "in_plane_mm", "top1", "top3", "true_region", "named", "hemisphere_right")
    try:
        place = localise(image, plane=plane, exclude=mask)
    except NotLocalisable:
        return row | dict.fromkeys(names)
    anatomy = name_regions(mask, place)
    found = positions(np.argwhere(np.asarray(mask)), place)[0][0].mean(axis=0)
    if axis == 0:  # the side of a sagittal slice is not known
        truth[0], found[0] = abs(truth[0]), abs(found[0])
    error = np.abs(found - truth)
    probability = anatomy_at(truth[None])[0]
    label = load_atlas().labels[probability.argmax()] if probability.max() >= LABEL_THRESHOLD else None
    named = [(region.name, region.hemisphere) for region in anatomy.regions]
    matches = [] if label is None else [name == label.name and (axis == 0 or side == label.hemisphere) for name, side in named]
    sure_side = axis != 0 and abs(truth[0]) >= MIDLINE_MM
    values = (
        found[axis], error[axis], np.linalg.norm(np.delete(error, axis)), None if label is None else any(matches[:1]),
        None if label is None else any(matches[:3]), None if label is None else label.name, named[0][0] if named else None,
        anatomy.hemisphere == ("right" if truth[0] > 0 else "left") if sure_side else None,
    )  # fmt: skip
    return row | dict(zip(names, values))


def naive_place(shape: tuple[int, int], plane: str) -> Place:
    """What stretching the picture over the atlas's middle slice of that plane says: no comparison at all, for comparison."""
    atlas = load_atlas()
    corners = np.sort(np.array([atlas.affine @ (*(np.multiply(atlas.shape, end) - 0.5), 1) for end in (0, 1)])[:, :3], axis=0)  # mm, low and high
    axis, (down, down_sign), (right, right_sign) = FRAMES[plane]
    matrix = np.zeros((3, 3))
    for column, (along, sign, pixels) in enumerate(((down, down_sign, shape[0]), (right, right_sign, shape[1]))):
        step = sign * np.diff(corners[:, along])[0] / pixels
        matrix[along, column], matrix[along, 2] = step, corners[0 if sign > 0 else 1, along] + step / 2
    matrix[axis, 2] = corners[:, axis].mean()
    return Place(plane, float(matrix[axis, 2]), (Candidate(1.0, matrix),), 0.0, 0.0)
