"""The phantom of known truth: slices of synthetic patients whose every pixel knows its MNI152 position.

A patient is a random pose, size and smooth deformation of one head (`phantom_head`) with one tumour
(`phantom_tumours`). No volume is resampled: each pixel's MNI152 coordinate is computed, and the head is read there.
The stored position is that very coordinate, so it holds no interpolation or inversion error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from xai.data.phantom_head import Head, load_head
from xai.data.phantom_tumours import Tumour, draw_tumour
from xai.paths import LABELS, PLANES

SLICE_THICKNESS_MM = 5.0
# Scanner axes (0 left-right, 1 back-front, 2 down-up) along rows, columns and through each plane. Rows run from
# front or top; columns from the patient's right (radiological) or, in sagittal slices, from the front.
PLANE_AXES = {"axial": (1, 0, 2), "coronal": (2, 0, 1), "sagittal": (2, 1, 0)}
FIELD_CENTER_MM = {"axial": (0.0, -17.0, 0.0), "coronal": (0.0, 0.0, -17.0), "sagittal": (0.0, -9.0, -17.0)}


@dataclass(frozen=True)
class PhantomSlice:
    """One slice of a synthetic patient.

    Attributes
    ----------
    image : ndarray of uint8, shape (S, S)
    mask : ndarray of uint8, shape (S, S)
        1 where at least half of the pixel is tumour.
    label : str
        One of `LABELS`, or "none" without a tumour.
    patient, plane : str
    mni : ndarray of float32, shape (S, S, 3)
        MNI152 millimetres (RAS) of the tissue at each pixel centre: where it lies in the healthy template.
    tumour_mni : ndarray of float64, shape (3,)
        MNI152 millimetres of the tumour's centre; NaN without a tumour.
    """

    image: np.ndarray
    mask: np.ndarray
    label: str
    patient: str
    plane: str
    mni: np.ndarray
    tumour_mni: np.ndarray


def make_phantom(
    *, subjects: int, slices_per_subject: int, image_size: int, seed: int, tumour_free: int = 0
) -> Iterator[PhantomSlice]:
    """Draw synthetic patients, one tumour each, and cut slices of the three planes through it.

    Parameters
    ----------
    subjects : int
        Patients with a tumour; the classes take turns.
    slices_per_subject : int
        Planes take turns; several slices of one plane lie at several offsets through the tumour.
    image_size : int
        Rows and columns S of each slice, at least 32.
    seed : int
        The same seed gives identical bytes. A patient depends on the seed and its own number only, not on how
        many patients there are.
    tumour_free : int, default 0
        Further patients of label "none" with an empty mask.

    Yields
    ------
    PhantomSlice

    Raises
    ------
    ValueError
        If a number is out of range; raised at the call, not at the first slice.
    """
    limits = {"subjects": (subjects, 0), "slices_per_subject": (slices_per_subject, 1), "image_size": (image_size, 32),
              "seed": (seed, 0), "tumour_free": (tumour_free, 0)}  # fmt: skip
    for name, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"phantom {name} is {value}, expected at least {least}; set it so in the profile.")
    return _slices(subjects, slices_per_subject, image_size, seed, tumour_free)


def _slices(subjects: int, count: int, size: int, seed: int, tumour_free: int) -> Iterator[PhantomSlice]:
    head = load_head()
    for number in range(subjects):
        label = LABELS[number % len(LABELS)]
        subject = _Subject(np.random.default_rng([seed, number]), label, head)
        yield from subject.cut(count, size, f"phantom-{number + 1:04d}", first_plane=number // len(LABELS))
    for number in range(tumour_free):
        subject = _Subject(np.random.default_rng([seed, number, 1]), "none", head)
        yield from subject.cut(count, size, f"phantom-free-{number + 1:04d}", first_plane=number)


class _Subject:
    """A head in the scanner: pose and deformation, tumour, contrast and coil."""

    def __init__(self, rng: np.random.Generator, label: str, head: Head) -> None:
        self.rng, self.label, self.head = rng, label, head
        self.tumour: Tumour | None = None if label == "none" else draw_tumour(label, rng, head)
        self.pose = _draw_pose(rng)  # (3, 3): scanner millimetres -> MNI152 millimetres, before the deformation
        self.wave_vectors, self.wave_phases, self.wave_amplitudes = _draw_deformation(rng)
        self.gamma = rng.uniform(0.88, 1.12)
        self.fat_gain = rng.uniform(0.75, 1.15)
        self.noise = rng.uniform(0.006, 0.016)
        self.bias_waves = rng.normal(0, 1, (3, 3)) * 2 * np.pi / 420
        self.bias_phases, self.bias_depth = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.05, 0.20)
        self.fields = {plane: (rng.uniform(228, 248), rng.normal(0, 3, 3)) for plane in PLANES}

    def cut(self, count: int, size: int, patient: str, first_plane: int) -> Iterator[PhantomSlice]:
        planes = [PLANES[(first_plane + k) % 3] for k in range(count)]
        offsets = {plane: iter(self._offsets(plane, planes.count(plane))) for plane in PLANES}
        center = np.full(3, np.nan) if self.tumour is None else self.tumour.center
        for plane in planes:
            image, mask, mni = self._render(plane, next(offsets[plane]), size)
            yield PhantomSlice(image, mask, self.label, patient, plane, mni, center)

    def _warp(self, origin: np.ndarray, row: np.ndarray, column: np.ndarray, steps: tuple) -> np.ndarray:
        """Undisplaced MNI152 millimetres (H, W, 3) of scanner points origin + steps[0][i] row + steps[1][j] column.

        A plane wave over a plane is an outer product of two vectors, which makes the deformation cheap.
        """
        place = lambda basis: (basis @ origin)[None, None] + (  # noqa: E731
            steps[0][:, None, None] * (basis @ row) + steps[1][None, :, None] * (basis @ column))
        points = place(self.pose)
        for vector, phase, amplitude in zip(self.wave_vectors, self.wave_phases, self.wave_amplitudes):
            along_rows = np.exp(1j * (steps[0] * (vector @ row) + vector @ origin + phase))
            along_columns = np.exp(1j * steps[1] * (vector @ column))
            wave = np.outer(along_rows.real, along_columns.real) - np.outer(along_rows.imag, along_columns.imag)
            points += wave[..., None] * amplitude
        return points.astype(np.float32)

    def _scanner_position(self, mni: np.ndarray) -> np.ndarray:
        """Invert the warp at one point by fixed-point iteration (the deformation is a contraction)."""
        position = np.linalg.solve(self.pose, mni)
        for _ in range(40):
            shift = np.cos(self.wave_vectors @ position + self.wave_phases) @ self.wave_amplitudes
            position = np.linalg.solve(self.pose, mni - shift)
        return position

    def _offsets(self, plane: str, count: int) -> np.ndarray:
        """Scanner positions (mm) of `count` slices, spread over where the tumour's section is not small."""
        axis = PLANE_AXES[plane][2]
        if count == 0:
            return np.empty(0)
        if self.tumour is None:
            middle, spread = {"axial": (15, 40), "coronal": (-15, 45), "sagittal": (0, 45)}[plane]
            return np.sort(middle + self.rng.uniform(-spread, spread, count))
        center = self._scanner_position(self.tumour.center)
        reach = 2.2 * self.tumour.radius
        steps = np.linspace(-reach, reach, 27)
        row, column, through = np.eye(3)[list(PLANE_AXES[plane])]
        area = np.array([
            (self.tumour.distance(self._warp(center + s * through, row, column, (steps, steps)).reshape(-1, 3),
                                  self.head) < 0).sum() for s in steps
        ])  # fmt: skip
        good = steps[area >= 0.45 * area.max()]
        if count == 1:
            return center[axis] + self.rng.choice(good, 1)
        jitter = self.rng.uniform(-0.3, 0.3, count) * (good[-1] - good[0]) / count
        return center[axis] + np.clip(np.linspace(good[0], good[-1], count) + jitter, good[0], good[-1])

    def _render(self, plane: str, offset: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (S, S) uint8, mask (S, S) uint8 and MNI152 positions (S, S, 3) of the slice at `offset` mm."""
        axes = PLANE_AXES[plane]
        field, jitter = self.fields[plane]
        row, column, through = np.eye(3)[list(axes)] * ((-1,), (-1,), (1,))
        origin = np.array(FIELD_CENTER_MM[plane]) + jitter
        origin[axes[2]] = offset

        fine = -(-160 // size)  # small images average several samples per pixel, as a scanner does
        fine_steps = ((np.arange(size * fine) + 0.5) / (size * fine) - 0.5) * field
        signal, inside = self._acquire(self._warp(origin, row, column, (fine_steps, fine_steps)), self.pose @ through)
        bias = self._bias(origin, row, column, fine_steps)
        shrink = lambda x: x.reshape(size, fine, size, fine).mean((1, 3))  # noqa: E731
        image, share = _scan(shrink(signal * bias), self.noise, self.rng), shrink(inside)

        # A small tumour in a coarse image may fill no pixel by half; its fullest pixels then stand for it.
        mask = (share >= min(0.5, 0.5 * share.max())) & (share > 0)
        steps = ((np.arange(size) + 0.5) / size - 0.5) * field
        points = self._warp(origin, row, column, (steps, steps))
        return image, mask.astype(np.uint8), points - self._displacement(points)

    def _acquire(self, points: np.ndarray, through: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Noiseless signal and tumour share (H, W), averaged over three depths of the slice."""
        signal = np.zeros(points.shape[:2], np.float32)
        inside = np.zeros_like(signal)
        moved = points - self._displacement(points)
        for depth in (-1, 0, 1):
            shift = (through * depth * SLICE_THICKNESS_MM / 3).astype(np.float32)
            layer = self.head.sample("signal", moved + shift)
            layer = np.where(layer > 0.5, 0.5 + (layer - 0.5) * self.fat_gain, layer)
            if self.tumour is not None:
                near = np.linalg.norm(points + shift - self.tumour.center.astype(np.float32), axis=-1) < self.tumour.reach_mm
                layer[near], share = self.tumour.paint(points[near] + shift, layer[near], self.head)
                inside[near] += share / 3
            signal += np.maximum(layer, 0) ** self.gamma / 3
        return signal, inside

    def _displacement(self, points: np.ndarray) -> np.ndarray:
        """Mass effect of the tumour at each point, (H, W, 3) millimetres."""
        shift = np.zeros_like(points)
        if self.tumour is not None and self.tumour.push_mm > 0:
            near = np.linalg.norm(points - self.tumour.center.astype(np.float32), axis=-1) < 2 * self.tumour.reach_mm
            shift[near] = self.tumour.displacement(points[near], self.head)
        return shift

    def _bias(self, origin: np.ndarray, row: np.ndarray, column: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Slowly varying coil sensitivity, within 20 % of one."""
        start = self.bias_waves @ origin + self.bias_phases
        angle = start + steps[:, None, None] * (self.bias_waves @ row) + steps[None, :, None] * (self.bias_waves @ column)
        return (1 + self.bias_depth * np.sin(angle).mean(-1)).astype(np.float32)


def _draw_pose(rng: np.random.Generator) -> np.ndarray:
    """Tilts up to about 8 degrees, overall size within 7 %, each axis within another 3 %."""
    x, y, z = np.deg2rad(np.clip(rng.normal(0, 4, 3), -8, 8))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x @ np.diag(rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03, 3))


def _draw_deformation(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five waves of 90-220 mm: vectors (5, 3) rad/mm, phases (5,), amplitudes (5, 3) mm that add up to 6 mm at most."""
    directions = rng.standard_normal((5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = 2 * np.pi * directions / rng.uniform(90, 220, (5, 1))
    amplitudes = rng.standard_normal((5, 3))
    amplitudes *= rng.uniform(3, 6) / np.linalg.norm(amplitudes, axis=1).sum()
    return vectors, rng.uniform(0, 2 * np.pi, 5), amplitudes


def _scan(signal: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Truncate k-space (slight Gibbs ringing), add complex noise (Rician magnitude), scale to 8 bits by the maximum."""
    frequency = np.abs(np.fft.fftfreq(len(signal)))
    window = np.clip((0.49 - frequency) / 0.16, 0, 1)
    spectrum = np.fft.fft2(signal) * np.outer(window, window)
    magnitude = np.abs(np.fft.ifft2(spectrum) + noise * (rng.standard_normal((2, *signal.shape)).T @ (1, 1j)).T)
    return np.round(magnitude * (255 / magnitude.max())).astype(np.uint8)
