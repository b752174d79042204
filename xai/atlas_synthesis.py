"""Random slices of heads whose place in MNI152 is known at every pixel: what the coordinate network learns from.

A head is a volume on a grid of MNI152 millimetres. Each slice comes from a head of its own: the volume seen through a random affine map and
a smooth random warp, cut at a random pose and thickness, with random contrast, bias field, blur, noise and lesions, some of which push aside what
surrounds them. In half of the slices a part is hidden, as tumours are when a slice is placed. Some pictures show no head at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from xai.atlas_poses import BRAIN_CENTER_MM, matrices
from xai.atlas_reading import CELLS, PIXELS
from xai.paths import PLANES

RANGE_MM = {"axial": (-62.0, 74.0), "coronal": (-96.0, 66.0), "sagittal": (-66.0, 66.0)}
VALIDATION_MM = {"axial": (-40.0, 62.0), "coronal": (-80.0, 50.0), "sagittal": (0.0, 56.0)}  # levels that show brain
# Spread of poses (as `atlas_matching.POSE` without the position): wider than clinical slices, so that those lie well inside.
POSE_MEAN = {plane: np.array([np.log(250.0), 0.0, 0.0, 0.0, 0.48 if plane == "axial" else 0.42, 0.5, 0.0]) for plane in PLANES}
POSE_SD = np.array([0.17, 0.12, 0.20, 0.09, 0.09, 0.06, 0.06])
NO_HEAD_SHARE, STRIPPED_SHARE, LESION_SHARE = 0.06, 0.12, 0.75
MASS_SHARE, HIDDEN_SHARE, THICK_SHARE, THICKEST_MM = 0.4, 0.5, 0.6, 7.0
PUSH = (0.15, 0.8)  # how far a mass pushes its edge, as a share of its radius
SELLA_MM, SELLA_RADIUS_MM = np.array([0.0, 5.0, -30.0]), 8.0  # read off the template: middle of the pituitary fossa
WAVES = 7  # of the smooth warp, 50 to 160 mm long


@dataclass(frozen=True)
class Head:
    """Signal (X, Y, Z) as a multiple of the brain's, on `voxel_mm` voxels from `lower_mm` on, and where the brain is (0 to 1).

    A head of the shape of MNI152 stands in its millimetres. One in its own shape is only aligned as a whole: `shift` (X, Y, Z, 3), in mm, leads
    from each of its voxels to MNI152.
    """

    name: str
    signal: np.ndarray
    brain: np.ndarray
    lower_mm: np.ndarray
    voxel_mm: float
    shift: np.ndarray | None = None

    def shift_at(self, points: np.ndarray) -> np.ndarray:
        """What leads from points (..., 3) of the head to MNI152, mm."""
        if self.shift is None:
            return np.zeros_like(points)
        index = np.moveaxis((points - self.lower_mm) / self.voxel_mm, -1, 0)
        return np.stack([ndimage.map_coordinates(part, index, order=1) for part in np.moveaxis(self.shift, -1, 0)], axis=-1)


@dataclass(frozen=True)
class Slices:
    """pictures (N, PIXELS, PIXELS) float32; known, likewise, 0 where a part is hidden and else 1; mni (N, CELLS, CELLS, 3) mm at the cells' centres, sagittal x >= 0; brain (N, CELLS, CELLS) share
    of brain, head likewise 0 or 1; plane (N,) number in `PLANES`, -1 without a head."""

    pictures: np.ndarray
    known: np.ndarray
    mni: np.ndarray
    brain: np.ndarray
    head: np.ndarray
    plane: np.ndarray


def draw_slices(heads: list[Head], count: int, seed: int | list[int]) -> Slices:
    """Random slices of random heads, the same for the same seed."""
    generator = np.random.default_rng(seed)
    made = [_no_head(generator) if generator.random() < NO_HEAD_SHARE else _slice(heads, generator) for _ in range(count)]
    *parts, plane = (np.stack([item[part] for item in made]) for part in range(6))
    return Slices(*(part.astype(np.float32) for part in parts), plane.astype(np.int32))


class KnownSlice(NamedTuple):
    """picture (H, W); mask (H, W) of a tumour, or None; plane; row and column of points of the brain (P, 2), and their MNI152 mm (P, 3); row
    and column of points of the sella (Q, 2), which is no part of the brain."""

    picture: np.ndarray
    mask: np.ndarray | None
    plane: str
    pixels: np.ndarray
    mni: np.ndarray
    sella: np.ndarray


def known_slices(head: Head, count: int, seed: int, *, side: int = 192) -> Iterator[KnownSlice]:
    """Slices of one head for validation, planes in turn: resized anew for each, tilted by up to ten degrees, with a tumour, otherwise as it is.

    A head of the shape of MNI152 is warped anew for each slice; one in its own shape keeps it. No contrast, window, noise or field of view is
    drawn at random: what is measured is anatomy.
    """
    generator = np.random.default_rng(seed)
    made = 0
    while made < count:
        plane, tilt = PLANES[made % 3], np.deg2rad(10)
        pose = np.r_[generator.uniform(*VALIDATION_MM[plane]), np.log(generator.uniform(220, 270)), generator.uniform(-tilt, tilt, 3), POSE_MEAN[plane][4:]]
        points = _points(side) @ matrices(pose[None], plane)[0].T
        own = _warp(points, generator, bend=float(head.shift is None))
        mni = own + head.shift_at(own)
        index = np.moveaxis((own - head.lower_mm) / head.voxel_mm, -1, 0)
        signal, brain = (ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in (head.signal, head.brain))
        if (brain > 0.5).mean() < 0.05:  # hardly any brain
            continue
        centre = np.argwhere(brain > 0.5)[generator.integers(int((brain > 0.5).sum()))]
        distance = np.hypot(*((np.moveaxis(np.indices(brain.shape), 0, -1) - centre) / generator.uniform(4, 16, 2)).T).T
        signal = signal + (generator.uniform(0.4, 2.2) - signal) / (1 + np.exp((distance - 1) * 8))
        inside, sella = (np.argwhere(part[::4, ::4]) * 4 for part in (brain > 0.5, np.linalg.norm(mni - SELLA_MM, axis=-1) < SELLA_RADIUS_MM))
        yield KnownSlice(signal.astype(np.float32), (distance < 1).astype(np.uint8), plane, inside, mni[tuple(inside.T)], sella)
        made += 1


def _slice(heads: list[Head], generator: np.random.Generator):
    head = heads[generator.integers(len(heads))]
    plane = PLANES[generator.integers(3)]
    pose = np.r_[generator.uniform(*RANGE_MM[plane]), POSE_MEAN[plane] + POSE_SD * generator.normal(size=7)]
    matrix = matrices(pose[None], plane)[0]
    mass = _ellipse(generator) if generator.random() < MASS_SHARE else None
    points = _points(PIXELS // 3)
    if mass is not None:
        points = _pushed(points, mass, generator.uniform(*PUSH))
    # The warp is smooth: a third of the points say it.
    template = cv2.resize(_warp(points @ matrix.T, generator).astype(np.float32), (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    looked = template * (-1, 1, 1) if generator.random() < 0.5 else template  # a mirrored head is as good a head
    index = np.moveaxis((looked - head.lower_mm) / head.voxel_mm, -1, 0)
    # Beyond the volume its border goes on: a neck below the last slice, air elsewhere.
    brain = ndimage.map_coordinates(head.brain, index, order=1, mode="nearest")
    through = np.cross(matrix[:, 0], matrix[:, 1])
    through *= generator.uniform(0, THICKEST_MM) * (generator.random() < THICK_SHARE) / np.linalg.norm(through) / head.voxel_mm
    levels = (-1 / 3, 0, 1 / 3) if through.any() else (0,)
    signal = np.mean([ndimage.map_coordinates(head.signal, index + level * through[:, None, None], order=1, mode="nearest") for level in levels], axis=0)
    stripped = generator.random() < STRIPPED_SHARE
    picture = _contrast(signal, brain, generator, stripped=stripped, mass=mass)
    known = np.ones(picture.shape)
    if generator.random() < HIDDEN_SHARE:
        part = _ellipse(generator) if mass is None else mass._replace(radii=mass.radii * generator.uniform(0.7, 1.3))
        known = (_distance(_points(PIXELS), part) >= 1).astype(float)
    mni = cv2.resize(template.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    if plane == "sagittal":
        mni = mni * np.sign(template[brain > 0.5][:, 0].mean() if (brain > 0.5).any() else 1) ** np.array([1, 0, 0])
    shares = [cv2.resize(values.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA) for values in (brain, signal > 0.15)]
    if stripped:
        shares[1] = shares[0]
    return picture, known, mni, shares[0], shares[1], PLANES.index(plane)


def _points(pixels: int) -> np.ndarray:
    """(row, column, 1) of pixel centres in fractions of the side, (P, P, 3)."""
    centre = (np.arange(pixels) + 0.5) / pixels
    rows, columns = np.meshgrid(centre, centre, indexing="ij")
    return np.stack([rows, columns, np.ones_like(rows)], axis=-1)


def _warp(points: np.ndarray, generator: np.random.Generator, *, bend: float = 1.0) -> np.ndarray:
    """A subject's points -> template: size and shape of the head, then a smooth warp of a few millimetres, times `bend`."""
    scale = np.exp(generator.normal(0, 0.035) + generator.normal(0, 0.045, 3))
    affine = np.diag(scale) + generator.normal(0, 0.02, (3, 3)) * (1 - np.eye(3))
    moved = (points - BRAIN_CENTER_MM) @ affine.T + BRAIN_CENTER_MM
    for _ in range(WAVES):
        direction = generator.normal(size=3)
        direction *= 2 * np.pi / generator.uniform(50, 160) / np.linalg.norm(direction)
        moved = moved + np.sin(points @ direction + generator.uniform(0, 2 * np.pi))[..., None] * generator.normal(0, 1.4 * bend, 3)
    return moved


class _Ellipse(NamedTuple):
    """Centre and radii (row, column) in fractions of the picture's side, turned by an angle in radians."""

    centre: np.ndarray
    radii: np.ndarray
    turn: float


def _ellipse(generator: np.random.Generator) -> _Ellipse:
    """The place of a tumour, anywhere."""
    return _Ellipse(0.5 + np.clip(generator.normal(0, 0.16, 2), -0.4, 0.4), generator.uniform(1.5, 14, 2) / PIXELS, generator.uniform(0, np.pi))


def _distance(points: np.ndarray, ellipse: _Ellipse) -> np.ndarray:
    """Of points (..., 2 or more): row and column first; from the ellipse's centre, 1 at its edge."""
    rows, columns = points[..., 0] - ellipse.centre[0], points[..., 1] - ellipse.centre[1]
    along = rows * np.cos(ellipse.turn) + columns * np.sin(ellipse.turn)
    across = columns * np.cos(ellipse.turn) - rows * np.sin(ellipse.turn)
    return np.hypot(along / ellipse.radii[0], across / ellipse.radii[1])


def _pushed(points: np.ndarray, mass: _Ellipse, push: float) -> np.ndarray:
    """Where the tissue at points (..., 3) stood before a mass grew: nearer to its centre, by the share `push` at its edge, less farther out."""
    distance = _distance(points, mass)
    share = push * np.exp(-0.5 * np.maximum(distance - 1, 0) ** 2) / np.maximum(distance, 1)
    moved = points.copy()
    moved[..., :2] -= (points[..., :2] - mass.centre) * share[..., None]
    return moved


def _contrast(signal: np.ndarray, brain: np.ndarray, generator: np.random.Generator, *, stripped: bool, mass: _Ellipse | None) -> np.ndarray:
    """What another scanner, another window and a tumour make of the signal."""
    signal = np.clip(signal, 0, 4) ** np.exp(generator.normal(0, 0.3))
    inside = np.clip(brain, 0, 1)
    # Scalp fat and marrow are two to four times as bright as brain on one scanner, and suppressed on another.
    signal = signal * (inside + (1 - inside) * np.exp(generator.normal(0, 0.35)))
    if generator.random() < 0.5:  # more or less contrast between the brain's tissues
        signal = np.where(inside > 0.5, np.clip(1 + (signal - 1) * generator.uniform(0.4, 1.8), 0, None), signal)
    if stripped:
        signal = signal * (inside > 0.5)
    if generator.random() < LESION_SHARE:
        for _ in range(generator.integers(1, 4)):
            signal = _lesion(signal, generator)
    if mass is not None:
        signal = _lesion(signal, generator, mass)
    rows, columns = _points(PIXELS)[..., 0] - 0.5, _points(PIXELS)[..., 1] - 0.5
    bias = sum(generator.normal(0, 0.35) * term for term in (rows, columns, rows * columns, rows**2 - 0.08, columns**2 - 0.08))
    signal = signal * np.exp(bias)
    signal = ndimage.gaussian_filter(signal, generator.uniform(0, 0.9))
    signal = signal + generator.normal(size=signal.shape) * generator.uniform(0, 0.08)
    if generator.random() < 0.15:  # the field of view ends within the head
        rows_lost, columns_lost = generator.integers(0, 14, 2)
        signal[: rows_lost if generator.random() < 0.5 else 0] = 0
        signal[:, : columns_lost if generator.random() < 0.5 else 0] = 0
    return np.clip(signal, 0, None)


def _lesion(signal: np.ndarray, generator: np.random.Generator, where: _Ellipse | None = None) -> np.ndarray:
    """An ellipse with a soft edge, brighter or darker than what it covers, sometimes a ring."""
    distance = _distance(_points(PIXELS), where or _ellipse(generator))
    share = 1 / (1 + np.exp((distance - 1) * 8))
    level = generator.uniform(0.1, 2.6)
    if generator.random() < 0.3:
        level = np.where(distance < 0.6, generator.uniform(0.1, 0.8), level)
    return signal * (1 - share) + level * share


def _no_head(generator: np.random.Generator):
    """Noise, textures, shapes or nothing."""
    kind = generator.integers(5)
    picture = generator.random((PIXELS, PIXELS))
    if kind == 1:
        picture = ndimage.gaussian_filter(picture, generator.uniform(1, 12))
        picture = (picture - picture.min()) / np.ptp(picture)
    elif kind == 2:
        picture = np.zeros((PIXELS, PIXELS))
        for _ in range(generator.integers(1, 7)):
            picture = _lesion(picture, generator)
    elif kind == 3:
        angle = generator.uniform(0, 2 * np.pi)
        rows, columns = _points(PIXELS)[..., 0], _points(PIXELS)[..., 1]
        picture = (rows * np.cos(angle) + columns * np.sin(angle)) % generator.uniform(0.1, 1.5)
    elif kind == 4:
        picture = np.zeros((PIXELS, PIXELS), np.float32)
        for _ in range(generator.integers(1, 9)):
            first, second = (tuple(int(v) for v in generator.integers(0, PIXELS, 2)) for _ in range(2))
            cv2.rectangle(picture, first, second, float(generator.random()), -1 if generator.random() < 0.5 else 2)
        picture = picture + generator.normal(size=picture.shape) * generator.uniform(0, 0.2)
    empty = np.zeros((CELLS, CELLS))
    return np.clip(picture, 0, None), np.ones(picture.shape), np.zeros((CELLS, CELLS, 3)), empty, empty, -1
