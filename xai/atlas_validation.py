"""How far off the place of a slice and the names under a mask are, on slices whose position in MNI152 is known."""

from __future__ import annotations

from typing import Iterable

import numpy as np
import pandas as pd

from xai.atlas import Candidate, NotLocalisable, Place, anatomy_at, load_atlas, localise, name_regions
from xai.atlas_poses import FRAMES
from xai.atlas_regions import AXIS, LABEL_THRESHOLD, MIDLINE_MM, positions


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


def errors_at(place: Place | None, plane: str, pixels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors of a slice's place at points of the brain whose MNI152 mm are known.

    Parameters
    ----------
    place : Place, or None where the slice was not placed
    plane : str
    pixels : (P, 2) row and column
    truth : (P, 3) mm

    Returns
    -------
    dict
        ``level_mm``: distance between the mean levels of the points along the plane's axis, found and true. ``through_plane_mm``, ``in_plane_mm``:
        mean distance over the points, which counts tilts and bends, too. All at the best candidate. ``side_right``: share of the points at
        least 3 mm from the midline that are placed on their own side (missing in sagittal slices, which do not tell sides apart).
        ``covered``: does the interval that is said to hold the level with 90 % (normal, from the candidates' spread) hold it? Missing values
        where there is no place.
    """
    if place is None:
        return dict.fromkeys(("level_mm", "through_plane_mm", "in_plane_mm", "side_right", "covered"), np.nan)
    axis = AXIS[plane]
    levels, weights, level = levels_at(place, pixels, truth)
    found, _, truth = _comparable(place, pixels, truth)
    error = np.abs(found[0] - truth)
    middle = weights @ levels
    reach = 1.645 * np.sqrt(weights @ (levels - middle) ** 2)
    sided = np.abs(truth[:, 0]) >= MIDLINE_MM
    same = (weights @ found[..., 0] > 0)[sided] == (truth[sided, 0] > 0)
    return {
        "level_mm": abs(levels[0] - level), "through_plane_mm": error[:, axis].mean(), "in_plane_mm": np.linalg.norm(np.delete(error, axis, axis=1), axis=1).mean(),
        "side_right": same.mean() if axis and sided.any() else np.nan, "covered": float(abs(level - middle) <= reach),
    }  # fmt: skip


def levels_at(place: Place, pixels: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean level of points along the plane's axis (mm) at each candidate (C,), the candidates' weights (C,), and the true one; arguments as of
    `errors_at`."""
    found, weights, truth = _comparable(place, pixels, truth)
    axis = AXIS[place.plane]
    return found[..., axis].mean(axis=1), weights, float(truth[:, axis].mean())


def regions_at(place: Place | None, plane: str, pixels: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """The cortical region at points whose MNI152 mm are known, and what is named there; arguments as of `errors_at`.

    Returns
    -------
    DataFrame
        One row for each point where the atlas has a cortical region of at least 25 %: `region`, the likeliest one there; `named`, the first
        one named; `rank` of the true region among those named, from 1 on (missing where the slice was not placed). In axial and coronal
        slices a region of the wrong side is a wrong region.
    """
    sides = AXIS[plane] != 0
    names, members = _cortical(sides)

    def merged(probabilities: np.ndarray) -> np.ndarray:
        return np.stack([probabilities[:, numbers].sum(axis=1) for numbers in members], axis=1)

    true = merged(anatomy_at(truth))
    cortex = np.flatnonzero(true.max(axis=1) >= LABEL_THRESHOLD)
    region = true[cortex].argmax(axis=1)
    table = pd.DataFrame({"region": [names[number] for number in region], "named": None, "rank": np.nan})
    if place is not None and len(cortex):
        found, weights, _ = _comparable(place, pixels[cortex], truth[cortex])
        named = merged(sum(weight * anatomy_at(points) for weight, points in zip(weights, found)))
        table["named"] = [names[number] for number in named.argmax(axis=1)]
        table["rank"] = 1.0 + (named > np.take_along_axis(named, region[:, None], axis=1)).sum(axis=1)
    return table


def outside_at(place: Place, pixels: np.ndarray, truth: np.ndarray, sella: np.ndarray) -> pd.DataFrame:
    """How probable it is said to be that a point lies outside the atlas, at points that lie in cortex, in the cerebellum or in the sella.

    Parameters
    ----------
    pixels, truth
        Points of the brain as of `errors_at`. Cortex: a cortical region of at least 25 %. Cerebellum: behind y -45 and below z -22 mm, with at
        most 5 % for all regions together.
    sella : (Q, 2) row and column of points of the sella

    Returns
    -------
    DataFrame
        ``tissue``, and ``outside``: one minus the sum of all regions' probabilities there.
    """
    cortical = np.array([label.kind == "cortical" for label in load_atlas().labels])
    there = anatomy_at(truth)
    chosen = {
        "cortex": pixels[there[:, cortical].max(axis=1) >= LABEL_THRESHOLD],
        "cerebellum": pixels[(truth[:, 1] < -45) & (truth[:, 2] < -22) & (there.sum(axis=1) <= 0.05)],
        "sella": sella,
    }
    rows = []
    for tissue, points in chosen.items():
        if len(points):
            found, weights = positions(points, place)
            said = sum(weight * anatomy_at(at) for weight, at in zip(weights, found)).sum(axis=1)
            rows.append(pd.DataFrame({"tissue": tissue, "outside": np.clip(1 - said, 0, 1)}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"tissue": [], "outside": []})


def point_errors(place: Place, pixels: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """Where points of the brain lie (x, y, z of MNI152, mm; sagittal x >= 0) and how far off the best candidate places them (mm); arguments
    as of `errors_at`."""
    found, _, truth = _comparable(place, pixels, truth)
    return pd.DataFrame(truth, columns=["x", "y", "z"]).assign(mm=np.linalg.norm(found[0] - truth, axis=1))


def _comparable(place: Place, pixels: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Found points (C, P, 3), weights (C,) and true points (P, 3); those of sagittal slices on one side, since it cannot be told."""
    found, weights = positions(pixels, place)
    if AXIS[place.plane] == 0:
        found, truth = np.stack([_one_side(points) for points in found]), _one_side(truth)
    return found, weights, np.asarray(truth, float)


def _one_side(points: np.ndarray) -> np.ndarray:
    """Points (P, 3) of a sagittal slice, mirrored where their mean lies on the left."""
    return points * (np.sign(points[:, 0].mean()) or 1.0, 1.0, 1.0)


def _cortical(sides: bool) -> tuple[list[str], list[list[int]]]:
    """Names of the cortical regions and the numbers of their maps; without `sides` left and right are one region."""
    members: dict[str, list[int]] = {}
    for number, label in enumerate(load_atlas().labels):
        if label.kind == "cortical":
            members.setdefault(f"{label.name} ({label.hemisphere})" if sides else label.name, []).append(number)
    return list(members), list(members.values())


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
