"""Chapter 5's viewer: where the shown slices lie in the template, and how sure that is, in three planes.

The script ``book/_static/atlas.js`` draws what is computed here; pictures of the template are made when the chapter runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import find_contours

from xai import plots
from xai.atlas import NotLocalisable, Place, load_templates, localise, name_regions
from xai.atlas_regions import AXIS
from xai.atlas_reference import BRIGHTEST, VOXEL_MM, Templates
from xai.data.dataset import Dataset
from xai.interactive import InteractiveFigure, as_text
from xai.paths import PLANES, Study
from xai.profiles import Profile
from xai.shown import cases_to_show

MARGIN_MM = 14.0  # around the brain, so that skull and scalp are seen
# Axes (horizontal, vertical) of each view; both fall from left to right and from top to bottom. The picture's left is thus the
# patient's right (axial, coronal) or the nose (sagittal), as in the slices.
FRAMES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


@dataclass(frozen=True)
class View:
    """One plane of the template through the middle of a mask; all coordinates (horizontal, vertical) in its pixels of 2 mm.

    Attributes
    ----------
    plane : str
    level_mm : float
        Where the view cuts, along its own axis.
    image : ndarray of uint8, shape (H, W)
    lines : list of ndarray, each (2, 2)
        For each candidate the line in which its slice crosses this view, best first; empty in the slice's own plane.
    band : ndarray (4, 2) or (0, 2)
        Around the best line, moved to the candidates' weighted mean: a standard deviation to either side.
    outlines : list of ndarray, each (P, 2)
        The mask; in the slice's own plane only.
    point : ndarray (2,)
        The mask's centre at the best candidate.
    """

    plane: str
    level_mm: float
    image: np.ndarray
    lines: list[np.ndarray]
    band: np.ndarray
    outlines: list[np.ndarray]
    point: np.ndarray


@dataclass(frozen=True)
class PlacedCase:
    """One slice: its name, plane, the candidates' positions (mm along the plane's axis) and weights, their spread, and three views."""

    name: str
    plane: str
    positions_mm: np.ndarray
    weights: np.ndarray
    spread_mm: float
    views: list[View]


def atlas_viewer(study: Study, profile: Profile, source: tuple[str, str]) -> InteractiveFigure | None:
    """The shown slices in three planes of the template; None if none of them could be placed.

    Parameters
    ----------
    source : (architecture, method)
        Whose masks are shown, as `xai.locating.choose_explanation` gives them.
    """
    dataset = Dataset(study)
    masks = np.load(study.need(study.cam_masks(*source), "04_thresholding"), mmap_mode="r")
    cases = []
    for position in cases_to_show(study, profile):
        row = dataset.rows("test")[position]
        entry, mask = dataset.index.iloc[row], np.asarray(masks[position]) > 0
        if mask.any():
            try:
                known = entry["plane"] if entry["plane"] in PLANES else None
                cases.append(place_case(f"{entry['label']}, slice {entry['id']}", np.asarray(dataset.images[row]), mask, known, profile))
            except NotLocalisable:
                continue
    if not cases:
        return None
    words = "; ".join(f"{case.name}: {case.plane}, {'xyz'[AXIS[case.plane]]} = {case.positions_mm[0]:.0f} mm, standard deviation {case.spread_mm:.1f} mm" for case in cases)
    return InteractiveFigure(
        kind="atlas", picture=plots.plot_places(cases), data=as_page_data(cases), alt=f"Three planes of the template for each slice. {words}.",
        caption="Where a test slice lies in MNI152: the best place as a line, the other candidates as thin lines, and their mean with a standard deviation to either side as a band; the "
        "mask's centre as a dot and, in the slice's own plane, its outline. Axial and coronal views are seen as radiologists do, the "
        "patient's right on the left. The band is the stated spread, not this slice's error: see the figure of how often it holds.",
    )  # fmt: skip


def place_case(name: str, image: np.ndarray, mask: np.ndarray, plane: str | None, profile: Profile) -> PlacedCase:
    """Place one slice (S, S) with its mask and cut the template through the middle of the mask.

    Raises
    ------
    NotLocalisable
        If the image shows no brain that could be placed.
    """
    found = localise(image, plane=plane, exclude=mask)
    templates = load_templates()
    centre = np.append(np.argwhere(mask).mean(axis=0), 1.0)
    at = np.array([candidate.pixel_to_mni @ centre for candidate in found.candidates])
    positions, weights = at[:, AXIS[found.plane]], np.array([candidate.weight for candidate in found.candidates])
    spread = name_regions(mask, found, convention=profile.atlas.convention).through_plane_sd_mm
    offsets = float(weights @ positions - positions[0]) + np.array([spread, -spread])
    views = [_view(view, templates, found, mask, at[0], offsets) for view in PLANES]
    return PlacedCase(name, found.plane, positions, weights, spread, views)


def _view(plane: str, templates: Templates, found: Place, mask: np.ndarray, centre: np.ndarray, offsets: np.ndarray) -> View:
    """`offsets`: the two sides of the band, in mm along the slice's axis from the best candidate."""
    axis, (across, down) = AXIS[plane], FRAMES[plane]
    lower, upper = _extent(templates)
    size = np.floor((upper - lower) / VOXEL_MM).astype(int) + 1
    points = np.empty((size[down], size[across], 3))
    points[..., axis] = centre[axis]
    points[..., across] = upper[across] - VOXEL_MM * np.arange(size[across])
    points[..., down] = (upper[down] - VOXEL_MM * np.arange(size[down]))[:, None]
    pictured = (255 * np.clip(templates.sample("signal", points) / BRIGHTEST, 0, 1)).round().astype(np.uint8)

    def pixels(mm: np.ndarray) -> np.ndarray:
        return (np.array([upper[across], upper[down]]) - mm[..., [across, down]]) / VOXEL_MM

    own = plane == found.plane
    lines = [] if own else [pixels(_crossing(candidate.pixel_to_mni, axis, centre[axis], (across, down), lower, upper)) for candidate in found.candidates]
    band = np.empty((0, 2))
    if lines:
        moved = np.zeros((2, 3))
        moved[:, AXIS[found.plane]] = offsets
        above, below = -moved[:, [across, down]] / VOXEL_MM
        band = np.concatenate([lines[0] + above, lines[0][::-1] + below])
    best = found.candidates[0].pixel_to_mni
    contours = find_contours(np.pad(mask, 1).astype(float), 0.5) if own else []
    outlines = [pixels(np.column_stack([contour - 1, np.ones(len(contour))]) @ best.T) for contour in contours]
    return View(plane, float(centre[axis]), pictured, lines, band, outlines, pixels(centre))


def _extent(templates: Templates) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper MNI mm of the brain with a margin."""
    voxels = np.argwhere(templates.brain)
    return tuple(templates.lower_mm + VOXEL_MM * end(axis=0) + side * MARGIN_MM for end, side in ((voxels.min, -1), (voxels.max, 1)))


def _crossing(pixel_to_mni: np.ndarray, axis: int, level: float, frame: tuple[int, int], lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Two MNI points (2, 3) of the line in which a slice crosses the view at `level` of `axis`, at the ends of the view's longer way."""
    normal = np.cross(pixel_to_mni[:, 0], pixel_to_mni[:, 1])
    across, down = frame
    along, other = (across, down) if abs(normal[down]) >= abs(normal[across]) else (down, across)
    ends = np.empty((2, 3))
    ends[:, axis] = level
    ends[:, along] = lower[along], upper[along]
    rest = normal @ pixel_to_mni[:, 2] - normal[axis] * level - normal[along] * ends[:, along]
    ends[:, other] = rest / normal[other]
    return ends


def as_page_data(cases: list[PlacedCase]) -> dict:
    """What ``book/_static/atlas.js`` reads."""
    return {"cases": [_as_data(case) for case in cases]}


def _as_data(case: PlacedCase) -> dict:
    def rounded(values) -> list:
        return np.round(np.asarray(values, float), 2).tolist()

    return {
        "name": case.name, "plane": case.plane, "axis": "xyz"[AXIS[case.plane]], "spread": round(float(case.spread_mm), 1),
        "positions": rounded(case.positions_mm), "weights": np.round(case.weights, 4).tolist(),
        "views": [
            {"plane": view.plane, "axis": "xyz"[AXIS[view.plane]], "level": round(view.level_mm, 1), "width": view.image.shape[1], "height": view.image.shape[0],
             "image": as_text(view.image), "lines": [rounded(line) for line in view.lines], "band": rounded(view.band),
             "outlines": [rounded(outline) for outline in view.outlines], "point": rounded(view.point)}
            for view in case.views
        ],
    }  # fmt: skip
