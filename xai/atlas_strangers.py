"""Is this a slice of a head at all? What the head check of `xai.atlas_reading` learns from, and how.

The network that reads places has seen hardly anything but heads. Its check is a logistic regression on its deepest features, trained on
random slices of heads against strangers: power-law noise, dead leaves (overlapping shapes of power-law sizes, which share the statistics of
photographs; Lee, Mumford & Huang 2001), waves, rings, and heads whose parts were scrambled, most of them cut out by a head's outline.
No picture that the check is tested on, and no real slice, is among them.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from xai.atlas_reading import PIXELS, as_input, forward
from xai.atlas_synthesis import Head, draw_slices

LEAST_BRAIN = 12  # cells, of the slices that count as heads: a vertex or a face alone cannot be placed
PENALTY = 0.01  # inverse strength of ridge: features are many, and heads of the world more varied than those that are drawn
SCRAMBLED_SHARE, OUTLINED_SHARE, RIMMED_SHARE = 0.25, 0.75, 0.3
HEADS_SEED = 2_000_000


def train_head_check(weights: dict[str, np.ndarray], heads: list[Head], *, count: int = 8000, seed: int = 0) -> dict[str, np.ndarray]:
    """Fit the check on `count` slices of heads and as many strangers.

    Returns
    -------
    dict
        ``kernel_head`` (F,) and ``bias_head`` (1,): log odds of a head from the pooled features of `forward`.
    """
    pictures, known = head_slices(heads, count, [HEADS_SEED, seed])
    generator = np.random.default_rng([HEADS_SEED + 1, seed])
    others = [stranger(generator, pictures[generator.integers(count)]) for _ in range(count)]
    shown = [*zip(pictures, known), *zip(others, known)]  # a hidden part is no sign of either
    features = [forward(weights, as_input(*(part[None] for part in pair))[0])[2] for pair in tqdm(shown, desc="head check", unit="picture", mininterval=5)]
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
    scaled.fit(np.stack(features), np.repeat([1, 0], count))
    scaler, regression = scaled[0], scaled[1]
    kernel = regression.coef_[0] / scaler.scale_
    return {"kernel_head": kernel.astype(np.float32), "bias_head": (regression.intercept_ - scaler.mean_ @ kernel).astype(np.float32)}


def head_slices(heads: list[Head], count: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Random slices (count, PIXELS, PIXELS) that show some brain, and what of them is known."""
    kept, part = [], 0
    while sum(map(len, kept)) < count:
        drawn = draw_slices(heads, 1000, [*seed, part])
        usable = (drawn.plane >= 0) & (drawn.brain.sum(axis=(1, 2)) >= LEAST_BRAIN)
        kept.append(np.stack([drawn.pictures[usable], drawn.known[usable]], axis=1))
        part += 1
    return tuple(np.concatenate(kept)[:count].swapaxes(0, 1))


def stranger(generator: np.random.Generator, head: np.ndarray) -> np.ndarray:
    """A picture (PIXELS, PIXELS) that shows no head, or this `head` scrambled."""
    picture = scrambled(generator, head) if generator.random() < SCRAMBLED_SHARE else _texture(generator)
    blurred = ndimage.gaussian_filter(picture, generator.uniform(0, 1.2) * (generator.random() < 0.6))
    noise = generator.normal(size=picture.shape) * generator.uniform(0, 0.06) * (generator.random() < 0.6)
    return np.clip(blurred + noise, 0, None).astype(np.float32)


def _texture(generator: np.random.Generator) -> np.ndarray:
    kinds = (power_law_noise, dead_leaves, dead_leaves, waves, rings)
    picture = kinds[generator.integers(len(kinds))](generator)
    if generator.random() < 0.3:
        picture = 0.6 * picture + 0.4 * kinds[generator.integers(len(kinds) - 1)](generator)
    picture = picture ** np.exp(generator.normal(0, 0.4))
    if generator.random() < 0.2:
        picture = 1 - picture
    if generator.random() < OUTLINED_SHARE:
        distance, sharpness = outline(generator), generator.uniform(15, 80)
        if generator.random() < RIMMED_SHARE:  # as bright as a scalp
            rim = np.exp(-(((distance - generator.uniform(0.85, 1)) / generator.uniform(0.03, 0.1)) ** 2))
            picture = picture * generator.uniform(0.3, 0.8) + generator.uniform(0.4, 1.2) * rim
        picture = picture / (1 + np.exp(np.clip((distance - 1) * sharpness, -50, 50)))
    return picture


def power_law_noise(generator: np.random.Generator) -> np.ndarray:
    """Noise whose spectrum falls with a random power of the frequency, stretched at random; 0 to 1."""
    stretch, power = np.exp(generator.normal(0, 0.4)), generator.uniform(0.3, 2.5)
    frequency = np.hypot(np.fft.fftfreq(PIXELS)[:, None] * stretch, np.fft.rfftfreq(PIXELS)[None] / stretch)
    frequency[0, 0] = 1
    return _unit(np.fft.irfft2(np.fft.rfft2(generator.normal(size=(PIXELS, PIXELS))) * frequency**-power, s=(PIXELS, PIXELS)))


def dead_leaves(generator: np.random.Generator) -> np.ndarray:
    """Ellipses and polygons one over the other, their sizes of a power law; 0 to 1."""
    picture = np.full((PIXELS, PIXELS), generator.random(), np.float32)
    for _ in range(generator.integers(5, 150)):
        column, row = (int(value) for value in generator.integers(-10, PIXELS + 10, 2))
        radius, level = float(np.clip(2 * generator.pareto(1.3) + 1.5, 1.5, 50)), float(generator.random())
        if generator.random() < 0.6:
            axes = (int(radius) + 1, int(radius * generator.uniform(0.2, 1)) + 1)
            cv2.ellipse(picture, (column, row), axes, float(generator.uniform(0, 180)), 0, 360, level, -1, cv2.LINE_AA)
        else:
            angles = np.sort(generator.uniform(0, 2 * np.pi, int(generator.integers(3, 7))))
            corners = np.stack([column + radius * np.cos(angles), row + radius * np.sin(angles)], axis=1)
            cv2.fillPoly(picture, [corners.astype(np.int32)], level, cv2.LINE_AA)
    return picture * (0.6 + 0.4 * power_law_noise(generator)) if generator.random() < 0.5 else picture


def waves(generator: np.random.Generator) -> np.ndarray:
    """Up to three gratings, bent, sometimes black and white; 0 to 1."""
    rows, columns = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    bend = power_law_noise(generator) * generator.uniform(0, 0.6)
    total = np.zeros((PIXELS, PIXELS))
    for _ in range(generator.integers(1, 4)):
        angle, phase = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi)
        total += np.sin(2 * np.pi * generator.uniform(1, 20) * (rows * np.cos(angle) + columns * np.sin(angle) + bend) + phase)
    return (total > generator.normal(0, 0.5)).astype(float) if generator.random() < 0.4 else _unit(total)


def rings(generator: np.random.Generator) -> np.ndarray:
    """Grey levels that depend on the distance from about the middle alone; 0 to 1."""
    rows, columns = np.mgrid[:PIXELS, :PIXELS] / PIXELS - 0.5 - generator.normal(0, 0.1, (2, 1, 1))
    distance = np.hypot(rows, columns * np.exp(generator.normal(0, 0.25))) + 0.05 * generator.random() * (power_law_noise(generator) - 0.5)
    return np.interp(distance, np.linspace(0, 0.8, 14), generator.random(14))


def outline(generator: np.random.Generator) -> np.ndarray:
    """Distance from the middle of a rounded shape, 1 at its edge: of a head's size, tilted and uneven at random."""
    rows, columns = np.mgrid[:PIXELS, :PIXELS] / PIXELS - 0.5 - generator.normal(0, 0.03, (2, 1, 1))
    turn, power = generator.uniform(0, np.pi) if generator.random() < 0.3 else 0.0, generator.choice([2, 2, 2, 3, 4])
    along, across = rows * np.cos(turn) + columns * np.sin(turn), columns * np.cos(turn) - rows * np.sin(turn)
    distance = (np.abs(along / generator.uniform(0.25, 0.55)) ** power + np.abs(across / generator.uniform(0.2, 0.5)) ** power) ** (1 / power)
    return distance * (1 + 0.25 * (power_law_noise(generator) - 0.5)) if generator.random() < 0.4 else distance


def scrambled(generator: np.random.Generator, head: np.ndarray) -> np.ndarray:
    """A slice of a head whose content is none any more: phases drawn anew, tiles shuffled, noise in its outline, or torn by large shifts."""
    bright = np.percentile(head, 95)
    inside = ndimage.gaussian_filter((head > 0.15 * bright).astype(float), 3)
    kind = generator.integers(4)
    if kind == 0:
        phases = np.angle(np.fft.rfft2(generator.normal(size=head.shape)))
        mixed = np.fft.irfft2(np.abs(np.fft.rfft2(head)) * np.exp(1j * phases), s=head.shape)
        return np.clip(mixed - np.percentile(mixed, 5), 0, None) * inside
    if kind == 1:
        number = int(generator.choice([2, 3, 4, 6]))
        tiles = head.reshape(number, PIXELS // number, number, PIXELS // number).swapaxes(1, 2).reshape(number**2, PIXELS // number, -1)
        return np.block([[tiles[index] for index in row] for row in generator.permutation(number**2).reshape(number, number)])
    if kind == 2:
        return power_law_noise(generator) * inside * bright
    knots = int(PIXELS / generator.uniform(4, 12))
    shift = cv2.resize(generator.normal(0, 12, (knots, knots, 2)).astype(np.float32), (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    return cv2.remap(np.asarray(head, np.float32), columns + shift[..., 1], rows + shift[..., 0], cv2.INTER_LINEAR)


def _unit(picture: np.ndarray) -> np.ndarray:
    return (picture - picture.min()) / max(np.ptp(picture), 1e-6)
