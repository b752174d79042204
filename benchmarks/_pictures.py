"""Pictures that show no head, for the benchmarks: photographs, drawings, textures, noise, ramps and shapes."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage import color, data

from xai.inputs import to_grey

# Those that scikit-image carries in its package.
NAMES = (
    "astronaut", "brick", "camera", "cat", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse", "hubble_deep_field",
    "immunohistochemistry", "logo", "moon", "page", "retina", "rocket", "text", "shepp_logan_phantom", "checkerboard", "microaneurysms",
)  # fmt: skip


def photographs() -> list[np.ndarray]:
    """The pictures of scikit-image, grey."""
    named = [getattr(data, name)() for name in NAMES]
    return [to_grey(color.rgb2gray(picture[..., :3]) if picture.ndim == 3 else picture) for picture in named]


def drawn() -> list[np.ndarray]:
    """Ramps, noise, black, discs, stripes, a square, a disc with a spot."""
    rows, columns = np.mgrid[:160, :160] / 160
    distance = np.hypot(rows - 0.5, columns - 0.5)
    made = [rows, columns, np.random.default_rng(5).random((160, 160)), np.zeros((160, 160)), distance < 0.3, np.sin(40 * columns) > 0,
            (np.abs(rows - 0.5) < 0.3) & (np.abs(columns - 0.5) < 0.3), 0.6 * (distance < 0.35) + 0.4 * (np.hypot(rows - 0.4, columns - 0.6) < 0.07)]  # fmt: skip
    return [to_grey(picture) for picture in made]


def no_heads(count: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """`count` pictures by kind: those above; then parts of the photographs, turned, and clouds, most seen through a soft round hole on black,
    which gives them a head's outline."""
    generator, whole = np.random.default_rng(seed), photographs()
    known, made = [*whole, *drawn()][:count], []
    rows, columns = np.mgrid[:160, :160] / 160 - 0.5
    while len(known) + len(made) < count:
        hole = 1 / (1 + np.exp((np.hypot(rows / generator.uniform(0.3, 0.5), columns / generator.uniform(0.25, 0.45)) - 1) * 30))
        if generator.random() < 0.25:
            part = ndimage.gaussian_filter(generator.random((160, 160)), generator.uniform(1, 12))
        else:
            picture = whole[generator.integers(len(whole))]
            side = int(min(picture.shape) * generator.uniform(0.4, 1))
            row, column = (int(generator.integers(0, size - side + 1)) for size in picture.shape)
            part = np.rot90(cv2.resize(picture[row : row + side, column : column + side].astype(np.float32), (160, 160)), generator.integers(4))
        part = (part - part.min()) / max(np.ptp(part), 1e-6)
        made.append(to_grey(part * hole if generator.random() < 0.7 else part))
    return {"photographs, drawings, noise, shapes": known, "parts of photographs and clouds, most in a round hole": made}
