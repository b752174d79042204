"""A volume in MNI152 millimetres to draw anatomy on with signed distance functions."""

from __future__ import annotations

from typing import Callable

import numpy as np
from scipy import ndimage

LOWER_MM = np.array([-100.0, -140.0, -166.0])  # MNI152 millimetres of voxel (0, 0, 0); voxels are 1 mm, RAS
SHAPE = (201, 267, 273)  # odd, so that each second voxel of an axis is a grid of its own

Box = tuple[slice, slice, slice]
EVERYWHERE: Box = (slice(None), slice(None), slice(None))
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Canvas:
    """A volume onto which structures are painted, later ones over earlier ones, with 1 mm soft edges."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.signal = np.zeros(shape, np.float32)
        self.axes = [LOWER_MM[axis] + np.arange(shape[axis], dtype=np.float32) for axis in range(3)]

    def grid(self, box: Box = EVERYWHERE) -> list[np.ndarray]:
        """x, y and z in millimetres, each of a shape that broadcasts to the box."""
        return np.meshgrid(*[axis[part] for axis, part in zip(self.axes, box)], indexing="ij", sparse=True)

    def blend(self, opacity: np.ndarray, value: np.ndarray | float, box: Box = EVERYWHERE) -> None:
        """Lay `value` over the signal, with an opacity that is clipped to 0..1."""
        self.signal[box] += np.clip(opacity, 0, 1) * (value - self.signal[box])

    def paint(self, distance: Distance, value: float, center: tuple, reach: tuple, *, mirror: bool = False) -> None:
        """Paint where `distance(x, y, z)` (mm, negative inside, relative to `center`) is below zero."""
        for side in (1, -1) if mirror else (1,):
            middle = np.array(center, float) * (side, 1, 1)
            box = self._box(middle, reach)
            x, y, z = (axis - m for axis, m in zip(self.grid(box), middle))
            self.blend(0.5 - distance(side * x, y, z), value, box)

    def cells(self, center: tuple, radii: tuple, value: float, walls: np.ndarray, *, mirror: bool = False) -> None:
        """Paint the walls between air cells: where the 1 mm noise field `walls` is near zero, inside a rounded box."""
        for side in (1, -1) if mirror else (1,):
            middle = np.array(center, float) * (side, 1, 1)
            box = self._box(middle, radii)
            inside = -ellipsoid(radii, 3)(*(axis - m for axis, m in zip(self.grid(box), middle)))
            self.blend(np.clip(inside, 0, 1) * np.exp(-((walls[box] / 0.28) ** 2)), value, box)

    def _box(self, middle: np.ndarray, reach: tuple) -> Box:
        low = np.maximum(np.floor(middle - reach - LOWER_MM).astype(int) - 2, 0)
        high = np.minimum(np.ceil(middle + reach - LOWER_MM).astype(int) + 3, SHAPE)
        return tuple(slice(a, b) for a, b in zip(low, high))

    def ellipsoid(self, center: tuple, radii: tuple, value: float, *, mirror: bool = False, power: float = 2) -> None:
        self.paint(ellipsoid(radii, power), value, center, radii, mirror=mirror)

    def tube(self, start: tuple, end: tuple, radius: float, value: float, *, mirror: bool = False) -> None:
        a, b = np.array(start, float), np.array(end, float)
        middle, half = (a + b) / 2, (b - a) / 2
        reach = np.abs(half) + radius
        self.paint(capsule(half, radius), value, tuple(middle), tuple(reach), mirror=mirror)


def ellipsoid(radii: tuple, power: float = 2) -> Distance:
    """Ellipsoid (power 2) or rounded box (power 4 and more); near its surface the value is about millimetres."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        scaled = [np.abs(axis / radius) ** power for axis, radius in zip((x, y, z), radii)]
        return ((scaled[0] + scaled[1] + scaled[2]) ** (1 / power) - 1) * min(radii)

    return distance


def capsule(half: np.ndarray, radius: float) -> Distance:
    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        along = np.clip((x * half[0] + y * half[1] + z * half[2]) / (half @ half), -1, 1)
        return np.sqrt((x - along * half[0]) ** 2 + (y - along * half[1]) ** 2 + (z - along * half[2]) ** 2) - radius

    return distance


def upsample(volume: np.ndarray) -> np.ndarray:
    """Double the sampling of each axis linearly: n voxels of 2 mm become 2 n - 1 voxels of 1 mm."""
    for axis in range(volume.ndim):
        volume = np.moveaxis(volume, axis, 0)
        fine = np.empty((2 * len(volume) - 1, *volume.shape[1:]), np.float32)
        fine[::2] = volume
        fine[1::2] = (volume[1:] + volume[:-1]) / 2
        volume = np.moveaxis(fine, 0, axis)
    return volume


def smooth_minimum(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Union of two signed distances whose seam is rounded over `width` millimetres."""
    blend = np.clip(0.5 + (second - first) / (2 * width), 0, 1)
    return second + (first - second) * blend - width * blend * (1 - blend)


def smooth_noise(seed: int, sigma: tuple[float, float, float]) -> np.ndarray:
    """Smooth unit-variance noise on the 2 mm grid, nearly symmetric in left and right as a face is."""
    shape = tuple((size + 1) // 2 for size in SHAPE)
    field = np.random.default_rng(seed).standard_normal(shape, np.float32)
    field = ndimage.gaussian_filter(field, sigma)
    field += 0.7 * field[::-1]
    return field / field.std()
