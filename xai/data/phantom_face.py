"""Face, skull base and neck of the phantom, drawn at the MNI152 positions these structures have in an average adult."""

from __future__ import annotations

import numpy as np

from xai.data.phantom_canvas import Canvas, Distance, smooth_noise, upsample

# Signal as a fraction of the brightest fat, in the ratio seen in figshare's post-contrast T1 slices.
AIR, BONE, FLUID, FLESH, MARROW, MUCOSA, VESSEL, FAT = 0.0, 0.03, 0.085, 0.27, 0.34, 0.46, 0.60, 0.78
CORD = 0.235


def paint_face(canvas: Canvas) -> None:
    """Orbits, sinuses and nasal cavity, mouth and jaws, throat, skull base."""
    walls = upsample(smooth_noise(51, (1.1, 1.6, 1.3)))
    _paint_orbits(canvas)
    _paint_nose(canvas, walls)
    _paint_mouth(canvas)
    _paint_throat(canvas)
    _paint_skull_base(canvas, walls)


def _paint_orbits(canvas: Canvas) -> None:
    canvas.ellipsoid((30, 42, -38), (19, 34, 17), BONE, mirror=True)
    canvas.paint(_orbit_fat, FAT - 0.22, (30, 42, -37), (19, 34, 17), mirror=True)
    canvas.paint(_orbit_muscles, 0.36, (30, 42, -37), (19, 34, 17), mirror=True)
    canvas.tube((14, 10, -30), (31, 56, -37), 2.6, FLESH, mirror=True)
    canvas.ellipsoid((32, 66, -37), (13.4, 13.4, 13.4), 0.36, mirror=True)
    canvas.ellipsoid((32, 66, -37), (11.8, 11.8, 11.8), FLUID, mirror=True)
    canvas.ellipsoid((32, 75, -37), (4.5, 2.2, 4.5), 0.24, mirror=True)


def _orbit_opening(y: np.ndarray) -> np.ndarray:
    """0 at the apex of the orbit (behind, medial), 1 behind the eye."""
    return np.clip((y + 34) / 52, 0, 1) ** 0.85


def _orbit_fat(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    opening = _orbit_opening(y)
    return np.maximum(np.hypot(x + 14 * (1 - opening), z) - 2 - 12.5 * opening, np.abs(y) - 33)


def _orbit_muscles(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The four straight muscles of the eye, on the wall of the cone of fat."""
    opening = _orbit_opening(y)
    medial = x + 14 * (1 - opening)
    on_wall = np.abs(np.hypot(medial, z) - (1 + 10.5 * opening)) - 1.9
    return np.maximum(np.maximum(on_wall, np.minimum(np.abs(medial), np.abs(z)) - 4), np.abs(y + 8) - 24)


def _paint_nose(canvas: Canvas, walls: np.ndarray) -> None:
    """Air spaces lined by mucosa, which enhances: ethmoid cells, nasal cavity, maxillary, sphenoid, frontal sinus."""
    canvas.ellipsoid((0, 47, -44), (15, 34, 15), AIR, power=4)
    canvas.cells((0, 47, -44), (14, 32, 13), MUCOSA, walls)
    canvas.ellipsoid((0, 55, -72), (17, 32, 17), MUCOSA - 0.1, power=3)
    canvas.ellipsoid((8.5, 52, -71), (6.8, 32, 15), AIR, mirror=True, power=3)
    for height, middle in ((-62, 48), (-71, 52), (-79, 54)):  # turbinates
        canvas.ellipsoid((8.5, middle, height), (3.8, 24, 3.2), MUCOSA + 0.06, mirror=True)
    canvas.ellipsoid((30, 50, -70), (16, 20, 18), MUCOSA - 0.08, mirror=True, power=2.5)
    canvas.ellipsoid((30, 50, -70), (14.4, 18.4, 16.4), AIR, mirror=True, power=2.5)
    canvas.ellipsoid((0, 17, -47), (17, 15, 9), BONE, power=3)
    canvas.ellipsoid((0, 17, -48), (15, 13, 7.5), MUCOSA - 0.12, power=3)
    canvas.ellipsoid((7.2, 17, -48), (6.9, 12.2, 6.8), AIR, mirror=True, power=3)
    canvas.ellipsoid((10, 80, -20), (9, 3.5, 9), AIR, mirror=True)


def _arch(width: float, height: float, radii: tuple[float, float]) -> Distance:
    """Front half of an upright elliptical ring, as jaws and rows of teeth are."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        ring = (np.hypot(x / radii[0], y / radii[1]) - 1) * min(radii)
        return np.maximum((np.hypot(ring / width, z / height) - 1) * width, -y)

    return distance


def _paint_mouth(canvas: Canvas) -> None:
    canvas.ellipsoid((0, 46, -90), (24, 34, 3.0), BONE, power=3)
    canvas.ellipsoid((0, 46, -90), (21, 31, 1.5), MARROW, power=3)
    for height in (-95, -104):  # teeth and their sockets give no signal
        canvas.paint(_arch(3.5, 4, (25, 36)), BONE, (0, 42, height), (30, 41, 5))
    canvas.ellipsoid((0, 34, -110), (22, 35, 17), FLESH + 0.05)
    canvas.ellipsoid((0, 30, -129), (4, 22, 8), FAT - 0.3)
    canvas.paint(_arch(5.5, 10, (36, 40)), BONE, (0, 38, -119), (44, 48, 11))
    canvas.paint(_arch(3.2, 7.5, (36, 40)), MARROW + 0.06, (0, 38, -119), (44, 48, 11))
    canvas.ellipsoid((45, 6, -88), (6.5, 15, 30), BONE, mirror=True, power=2.5)  # ramus
    canvas.ellipsoid((45, 6, -88), (3.2, 11, 26), MARROW, mirror=True, power=2.5)
    canvas.ellipsoid((53, 10, -90), (5, 15, 24), FLESH, mirror=True)  # masseter
    canvas.ellipsoid((49, -14, -80), (9, 12, 22), 0.40, mirror=True)  # parotid gland


def _paint_throat(canvas: Canvas) -> None:
    path = ((0, 10, -66), (0, 3, -84), (0, -1, -104), (0, -2, -130), (0, 4, -166))
    radii = (8, 7, 5.5, 7)
    for lining, value in ((2.0, MUCOSA - 0.04), (0.0, AIR)):
        for start, end, radius in zip(path, path[1:], radii):
            canvas.tube(start, end, radius + lining, value)


def _paint_skull_base(canvas: Canvas, walls: np.ndarray) -> None:
    """Temporal bones with air cells, clivus, cavernous sinuses with the carotids, pituitary gland."""
    canvas.ellipsoid((46, -30, -44), (24, 22, 15), BONE, mirror=True, power=2.5)
    canvas.cells((50, -32, -46), (20, 17, 14), MUCOSA - 0.12, walls, mirror=True)
    canvas.tube((72, -22, -42), (52, -20, -44), 2.6, AIR, mirror=True)
    for grow, value in ((1.0, BONE), (0.0, MARROW)):  # clivus: broad, thin, steep, with fatty marrow
        for side in (-5, 5):
            canvas.tube((side, -7, -43), (0.6 * side, -24, -66), 5.0 + grow, value)
    canvas.ellipsoid((13, 1, -35), (5.5, 11, 7), MUCOSA - 0.12, mirror=True)
    canvas.tube((13, -8, -39), (12, 8, -36), 2.4, BONE, mirror=True)
    canvas.tube((24, -22, -52), (14, -6, -46), 2.6, BONE, mirror=True)
    canvas.ellipsoid((0, 2, -35.5), (7, 5.5, 3.8), MUCOSA - 0.06)


def paint_neck(canvas: Canvas) -> None:
    """Spinal canal with the cord, vertebrae with discs, large vessels."""
    for height in range(-86, -170, -17):
        lean = 0.06 * (height + 72)
        canvas.ellipsoid((0, -27 + lean, height), (12, 9, 8.2), BONE, power=4)
        canvas.ellipsoid((0, -27 + lean, height), (10.5, 7.8, 6.6), MARROW, power=4)
        canvas.ellipsoid((0, -27 + lean, height - 8.5), (10, 7.5, 1.8), FLESH - 0.08, power=3)
        canvas.tube((0, -62 + lean, height), (0, -80 + lean, height - 7), 3.6, BONE)
        canvas.tube((0, -63 + lean, height), (0, -80 + lean, height - 7), 2.4, MARROW)
        canvas.ellipsoid((21, -36 + lean, height), (8, 8, 6.5), MARROW - 0.08, mirror=True, power=3)
    canvas.ellipsoid((0, -20, -73), (4, 4.5, 11), MARROW + 0.03)  # dens
    canvas.tube((0, -45, -62), (0, -50, -166), 10.5, BONE)
    canvas.tube((0, -45, -62), (0, -50, -166), 9.2, FLUID)
    canvas.tube((0, -45, -70), (0, -50, -166), 5.8, CORD)
    canvas.tube((27, -12, -60), (27, -12, -166), 3.2, BONE, mirror=True)  # carotids: a flow void
    canvas.tube((34, -20, -60), (34, -18, -166), 4.5, MUCOSA - 0.03, mirror=True)  # jugular veins
