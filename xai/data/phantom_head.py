"""A noiseless post-contrast T1 head in MNI152 space: the template brain, dressed in skull, scalp, face and neck.

The brain is the MNI152 T1 that nilearn carries, so its anatomy is real and its coordinates are exact. What the
template lacks is drawn with signed distance functions at the usual MNI positions of each structure: it makes
coronal and sagittal slices look like heads, and is not meant as anatomy to measure on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from xai.data.phantom_canvas import LOWER_MM, SHAPE, Canvas, ellipsoid, smooth_minimum, smooth_noise, upsample
from xai.data.phantom_face import AIR, BONE, CORD, FAT, FLESH, FLUID, MARROW, MUCOSA, VESSEL, paint_face, paint_neck

TEMPLATE_LOWER_MM = np.array([-98, -134, -72])  # voxel (0, 0, 0) of nilearn's 1 mm template

# The template carries another contrast than a post-contrast slice:
TEMPLATE_SIGNAL = (0.00, 0.42, 0.56, 0.66, 0.74, 0.84, 0.90, 1.00)  # template intensity ...
BRAIN_SIGNAL = (0.07, 0.08, 0.13, 0.195, 0.23, 0.268, 0.278, 0.285)  # ... and the signal it becomes
# Paths in MNI152 millimetres on the right, mirrored to the left; radius in millimetres; signal.
VESSELS = (
    (((22, -40, 7), (25, -33, 2), (17, -32, 15)), 2.4, MUCOSA),  # choroid plexus: atrium of the ventricle
    (((17, -32, 15), (12, -18, 18), (4, -4, 15)), 1.3, MUCOSA - 0.05),  # ... and body
    (((8, 2, -25), (16, 3, -23), (26, 8, -20), (34, 5, -17), (42, -4, -10)), 1.0, MUCOSA - 0.06),  # middle cerebral
    (((7, 4, -25), (2, 20, -21), (2, 38, -6)), 1.0, MUCOSA - 0.06),  # anterior cerebral
    (((0, -17, -50), (0, -15, -24)), 1.5, MUCOSA),  # basilar
    (((3, -16, -24), (14, -22, -20), (20, -34, -12)), 1.0, MUCOSA - 0.06),  # posterior cerebral
)


@dataclass(frozen=True)
class Head:
    """Volumes on the grid that starts at `LOWER_MM`; `depth` and `brain` have 2 mm voxels, `signal` 1 mm.

    Attributes
    ----------
    signal : ndarray of float32, shape (201, 267, 273)
        Noiseless signal, 0 (air) to 1.
    depth : ndarray of float32, shape (101, 134, 137)
        Signed distance to the dura in millimetres, positive inside the skull.
    brain : ndarray of float32, shape (101, 134, 137)
        Signed distance to the surface of the template's brain mask in millimetres, positive inside.
    white_matter, dura : ndarray of float32, shape (N, 3)
        MNI152 millimetres of points in white matter, and on the dura.
    """

    signal: np.ndarray
    depth: np.ndarray
    brain: np.ndarray
    white_matter: np.ndarray
    dura: np.ndarray

    def sample(self, name: str, points: np.ndarray) -> np.ndarray:
        """Read a volume at MNI152 millimetres `points` (..., 3) by trilinear interpolation; air beyond the grid."""
        volume = getattr(self, name)
        step = 1.0 if name == "signal" else 2.0
        voxels = np.moveaxis((points - LOWER_MM.astype(np.float32)) * np.float32(1 / step), -1, 0)
        beyond = 0.0 if name == "signal" else -99.0
        return ndimage.map_coordinates(volume, voxels, order=1, mode="constant", cval=beyond, output=np.float32)


def _mni152(kind: str) -> np.ndarray:
    """nilearn's `template`, `brain_mask` or `wm_template`, 1 mm, float32."""
    from nilearn import datasets  # takes seconds to import; checking a profile does not need it

    return getattr(datasets, f"load_mni152_{kind}")(resolution=1).get_fdata(dtype=np.float32)


@lru_cache(maxsize=1)
def load_head() -> Head:
    """Build the head once for each process (a few seconds, about 80 MB)."""
    mask = _on_grid(_mni152("brain_mask") > 0.5)
    coarse = mask[::2, ::2, ::2]
    brain = _signed_distance(coarse)
    depth = _signed_distance(_closed(coarse, radius_mm=12.0))
    canvas = Canvas(SHAPE)
    skin = _skin(canvas, depth)
    _paint_outside(canvas, skin)
    _paint_skull(canvas, depth)
    paint_face(canvas)
    paint_neck(canvas)
    canvas.blend(upsample(skin) + 0.5, AIR)  # nothing may stick out of the skin
    _paint_brain(canvas, mask, upsample(depth))
    _paint_vessels(canvas, upsample(depth))
    white = _on_grid(_mni152("wm_template"))[::2, ::2, ::2]
    return Head(canvas.signal, depth, brain, _where(white > 0.5), _where(np.abs(depth) < 1.0))


def _where(chosen: np.ndarray) -> np.ndarray:
    """MNI152 millimetres of the chosen voxels of the 2 mm grid."""
    return (np.argwhere(chosen) * 2 + LOWER_MM).astype(np.float32)


def _on_grid(template: np.ndarray) -> np.ndarray:
    """Put a volume of the template's grid onto the larger grid of the head."""
    volume = np.zeros(SHAPE, template.dtype)
    first = (TEMPLATE_LOWER_MM - LOWER_MM).astype(int)
    keep = [min(size, SHAPE[axis] - first[axis]) for axis, size in enumerate(template.shape)]
    begin = np.maximum(-first, 0)
    target = tuple(slice(max(f, 0), f + k) for f, k in zip(first, keep))
    volume[target] = template[tuple(slice(b, k) for b, k in zip(begin, keep))]
    return volume


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Millimetres to the border of a mask of 2 mm voxels, positive inside, smoothed below the voxel size."""
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return ndimage.gaussian_filter((2 * distance).astype(np.float32), 0.8)


def _closed(inside: np.ndarray, radius_mm: float) -> np.ndarray:
    """Morphological closing by a ball: bridges fissures and cisterns, as the dura does."""
    dilated = ndimage.distance_transform_edt(~inside) * 2 <= radius_mm
    return ndimage.distance_transform_edt(dilated) * 2 > radius_mm


def _skin(canvas: Canvas, depth: np.ndarray) -> np.ndarray:
    """Signed distance to the skin on the 2 mm grid, negative inside: cranium, face, nose, ears, neck joined smoothly."""
    x, y, z = (axis[::2, ::2, ::2] for axis in canvas.grid())
    skin = -depth - 13.5 - 2 * np.clip(-y / 100, 0, 1)
    parts = [
        ((0, 38, -66), (62, 55, 64), 2.4, 12), ((0, 40, -110), (47, 50, 26), 2.6, 12),  # face, jaw
        ((0, -34, -130), (60, 59, 90), 2.5, 20),  # neck
        ((60, 18, -18), (15, 34, 44), 2, 10), ((-60, 18, -18), (15, 34, 44), 2, 10),  # temples
        ((0, 90, -58), (10, 14, 20), 2, 9), ((0, 102, -64), (9, 9, 8), 2, 7),  # bridge and tip of the nose
        ((0, 88, -88), (22, 10, 8), 2, 6), ((0, 86, -99), (18, 9, 7), 2, 6), ((0, 82, -121), (18, 13, 13), 2, 8),  # lips, chin
        ((78, -30, -38), (4, 13, 26), 2, 5), ((-78, -30, -38), (4, 13, 26), 2, 5),  # ears
    ]  # fmt: skip
    for (cx, cy, cz), radii, power, width in parts:
        skin = smooth_minimum(skin, ellipsoid(radii, power)(x - cx, y - cy, z - cz), width)
    return skin.astype(np.float32)


def _paint_outside(canvas: Canvas, skin: np.ndarray) -> None:
    """Skin, the fat under it, and flesh crossed by streaks of fat."""
    z = canvas.grid()[2][:, :, ::2]
    streaks = smooth_noise(11, (1.3, 1.5, 3.5))
    flesh = FLESH + (FAT - 0.14 - FLESH) * np.exp(-((streaks / 0.2) ** 2)) + 0.02 * smooth_noise(12, (1, 1, 1))
    fat = FAT - 0.05 + 0.05 * smooth_noise(13, (1.5, 1.5, 1.5))
    thickness = 5 + smooth_noise(14, (8, 8, 8)) + 1.5 * np.clip(-z / 60, 0, 1)
    layer = flesh + (fat - flesh) * np.clip((skin + thickness) / 1.5 + 0.5, 0, 1)
    layer += (0.42 - layer) * np.clip(skin + 2.5, 0, 1)
    canvas.blend(0.5 - upsample(skin), upsample(layer.astype(np.float32)))
    canvas.ellipsoid((59, 22, -18), (12, 34, 40), FLESH - 0.02, mirror=True)  # temporal muscle


def _paint_skull(canvas: Canvas, depth: np.ndarray) -> None:
    """Dark tables around marrow (diploe); below the skull base it merges with the bones of the face."""
    z = canvas.grid()[2]
    bone = upsample(6.0 + 1.2 * smooth_noise(21, (7, 7, 7)))
    outside = upsample(-depth)
    canvas.blend(np.minimum(outside - 1.0, 2.0 + bone - outside) + 0.5, BONE)
    marrow = upsample(MARROW - 0.06 + 0.07 * smooth_noise(22, (2, 2, 2)))
    canvas.blend(np.clip(1.4 - np.abs(outside - 2.0 - bone / 2), 0, 1) * np.clip((z + 40) / 20, 0, 1), marrow)


def _paint_brain(canvas: Canvas, mask: np.ndarray, depth: np.ndarray) -> None:
    """Fluid inside the dura, then the template, sharpened a little because it is an average of many brains."""
    canvas.blend(depth + 1.5, FLUID)
    template = _mni152("template")
    template = template + 0.9 * (template - ndimage.gaussian_filter(template, 1.5)) * (template > 0)
    signal = _on_grid(np.interp(template, TEMPLATE_SIGNAL, BRAIN_SIGNAL).astype(np.float32))
    canvas.blend(ndimage.gaussian_filter(mask.astype(np.float32), 0.6), signal)
    canvas.tube((0, -45, -66), (0, -46, -80), 5.8, CORD)  # the template ends in the medulla; the cord goes on


def _paint_vessels(canvas: Canvas, depth: np.ndarray) -> None:
    """What gadolinium lights up: dural sinuses, falx, choroid plexus, arteries, veins on the brain."""
    x, y, z = canvas.grid()
    upper = np.clip((z + 12) / 6, 0, 1) * np.clip(np.maximum(z - 20, -y - 20) / 20, 0, 1)
    falx = np.clip(1.1 - np.abs(x), 0, 1) * np.clip(depth + 1, 0, 1) * np.clip((26 - depth) / 3, 0, 1)
    canvas.blend(0.55 * falx * upper, MUCOSA - 0.08)
    sagittal = np.clip(3.6 - 0.55 * np.maximum(depth, 0) - np.abs(x), 0, 1) * np.clip(2 - np.abs(depth - 1), 0, 1)
    canvas.blend(sagittal * upper, VESSEL)
    transverse = np.clip(3.2 - np.hypot(depth - 0.5, z + 20 + 0.06 * np.abs(x)), 0, 1) * np.clip((-y - 52) / 6, 0, 1)
    canvas.blend(transverse, VESSEL - 0.08)
    canvas.tube((0, -46, 4), (0, -88, -12), 1.4, VESSEL - 0.1)  # straight sinus
    # Where two noise fields are both near zero lies a set of curves: it serves as veins and small arteries.
    curves = np.hypot(*(upsample(smooth_noise(seed, (2.4, 2.4, 2.4))) for seed in (41, 42)))
    in_sulci = np.clip((0.215 - canvas.signal) / 0.03, 0, 1) * np.clip(depth + 0.5, 0, 1) * np.clip((22 - depth) / 8, 0, 1)
    canvas.blend(0.9 * np.clip((0.24 - curves) * 12, 0, 1) * in_sulci, VESSEL)
    for path, radius, signal in VESSELS:
        for start, end in zip(path, path[1:]):
            canvas.tube(start, end, radius, signal, mirror=True)
