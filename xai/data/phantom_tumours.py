"""The three tumour kinds of the phantom: where they grow, their shape, and what gadolinium does to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xai.data.phantom_face import FLUID
from xai.data.phantom_head import Head

SELLA_MM = np.array([0.0, 2.0, -33.0])  # MNI152 position of the pituitary fossa
RADIUS_MM = {"glioma": (12.0, 28.0), "meningioma": (8.0, 22.0), "pituitary": (5.0, 14.0)}


@dataclass(frozen=True)
class Waves:
    """Smooth random field of unit variance: a few plane waves, so any point costs the same and nothing is stored."""

    vectors: np.ndarray  # (K, 3) radians per millimetre
    phases: np.ndarray  # (K,)

    @classmethod
    def draw(cls, rng: np.random.Generator, *, wavelengths_mm: tuple[float, float], count: int = 7) -> "Waves":
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelengths_mm, count)
        return cls((2 * np.pi * directions / lengths[:, None]).astype(np.float32),
                   rng.uniform(0, 2 * np.pi, count).astype(np.float32))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        angles = points @ self.vectors.T + self.phases
        return np.sin(angles).sum(-1) * np.float32(np.sqrt(2 / len(self.phases)))


@dataclass(frozen=True)
class Tumour:
    """One tumour in the undeformed head, where all points are MNI152 millimetres.

    Attributes
    ----------
    label : str
    center : ndarray, shape (3,)
    radius : float
        Mean radius in millimetres.
    pattern : str
        How it enhances: "ring", "patchy" or "none" for a glioma, "solid" or "cystic" for the others.
    level : float
        Signal of its enhancing part.
    push_mm : float
        Mass effect: how far tissue at its border has moved outwards.
    """

    label: str
    center: np.ndarray
    radius: float
    pattern: str
    level: float
    push_mm: float
    axes: np.ndarray  # (3, 3), rotates and stretches offsets from the centre
    outline: Waves
    texture: Waves
    roughness: float  # relative amplitude of the outline
    dome: np.ndarray | None = None  # offset of the suprasellar part of a pituitary tumour
    falx_side: int = 0  # +1 or -1: the side of the falx a parasagittal meningioma cannot leave

    @property
    def reach_mm(self) -> float:
        """Beyond this distance from the centre the tumour changes neither signal nor position."""
        return 2.3 * self.radius + 16

    def distance(self, points: np.ndarray, head: Head) -> np.ndarray:
        """Signed distance in millimetres from MNI152 `points` (N, 3) to the border, negative inside the tumour."""
        offsets = points - self.center.astype(np.float32)
        size = self.radius * (1 + self.roughness * np.clip(self.outline(points), -1.8, 1.8))
        distance = np.linalg.norm(offsets @ self.axes.astype(np.float32), axis=-1) - size
        if self.dome is not None:
            above = np.linalg.norm(offsets - self.dome.astype(np.float32), axis=-1) - 0.75 * size
            blend = np.clip(0.5 + (distance - above) / 4, 0, 1)  # rounded seam: the waist of the figure of eight
            distance = distance + (above - distance) * blend - 2 * blend * (1 - blend)
        if self.label == "glioma":
            distance = np.maximum(distance, 0.5 - head.sample("brain", points))
        if self.label == "meningioma":
            distance = np.maximum(distance, -1.5 - head.sample("depth", points))
            if self.falx_side:
                distance = np.maximum(distance, 0.5 - self.falx_side * points[..., 0])
        return distance

    def displacement(self, points: np.ndarray, head: Head) -> np.ndarray:
        """How far (mm) the mass effect has moved what now lies at `points` (N, 3); zero in bone and far away."""
        offsets = points - self.center.astype(np.float32)
        relative = np.linalg.norm(offsets, axis=-1) / self.radius
        freedom = np.clip(head.sample("depth", points) / 16, 0, 1)
        amount = self.push_mm / self.radius * np.exp(0.5 - 0.5 * relative**2) * freedom**2 * (3 - 2 * freedom)
        return offsets * amount[..., None].astype(np.float32)

    def paint(self, points: np.ndarray, signal: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
        """Lay the tumour over the noiseless `signal` (N,) at `points` (N, 3).

        Returns
        -------
        signal : ndarray, shape (N,)
        inside : ndarray, shape (N,)
            Share of tumour at each point, 0 to 1 over one millimetre; oedema and dural tail do not count.
        """
        distance = self.distance(points, head)
        inside = np.clip(0.5 - distance, 0, 1)
        texture = self.texture(points)
        around, body = getattr(self, f"_{self.label}")(points, distance, texture, signal, head)
        if self.label == "glioma" and self.pattern == "none":
            inside_soft = np.clip(0.5 - distance / 4, 0, 1)  # it infiltrates: no sharp border to be seen
            return around + inside_soft * (body - around), inside
        return around + inside * (body - around), inside

    def _glioma(self, points, distance, texture, signal, head):
        """Oedema around; a rim of uneven thickness and brightness that enhances around necrosis."""
        uneven = np.clip(0.9 + 0.4 * self.outline(points[:, ::-1]), 0, 1)
        spread = uneven * np.exp(-np.maximum(distance, 0) / (0.35 * self.radius + 3))
        swollen = np.clip((signal - 0.17) / 0.05, 0, 1) * (signal < 0.34)
        around = signal - 0.075 * spread * swollen
        core = 0.13 + 0.02 * texture
        if self.pattern == "ring":
            thickness = np.clip((0.2 + 0.11 * texture) * self.radius, 2.0, 0.5 * self.radius)
            rim = np.clip((distance + thickness) / 1.5 + 0.5, 0, 1)
            bright = self.level * np.clip(0.92 + 0.16 * self.outline(points * 1.7), 0.55, 1.2)
            return around, core + rim * (bright - core)
        solid = 0.15 + 0.018 * texture
        if self.pattern == "patchy":
            return around, solid + np.clip(1.2 * texture - 0.1, 0, 1) * (self.level - solid)
        return around, solid

    def _meningioma(self, points, distance, texture, signal, head):
        """A cleft of fluid between tumour and brain, a tail along the dura, an even bright body."""
        depth = head.sample("depth", points)
        cleft = np.clip(1.4 - np.abs(distance - 1.0), 0, 1) * np.clip((depth - 2) / 3, 0, 1) * 0.5
        around = signal + cleft * (FLUID + 0.02 - signal)
        tail = np.clip(1.8 - np.abs(depth - 0.3), 0, 1) * np.clip(1 - distance / (0.5 * self.radius), 0, 1)
        around = around + 0.8 * tail * (0.9 * self.level - around)
        return around, self.level * (1 + 0.045 * texture)

    def _pituitary(self, points, distance, texture, signal, head):
        """Fairly even; a cystic one holds a dark part."""
        body = self.level * (1 + 0.07 * texture)
        if self.pattern == "cystic":
            hollow = np.clip((-distance - 0.25 * self.radius) / 2, 0, 1) * np.clip(texture + 0.4, 0, 1)
            body = body + 0.8 * hollow * (0.16 - body)
        return signal, body


def draw_tumour(label: str, rng: np.random.Generator, head: Head) -> Tumour:
    """Draw a tumour of class `label` at a place where that class grows."""
    low, high = RADIUS_MM[label]
    radius = low + (high - low) * rng.beta(*{"glioma": (2.0, 2.2), "meningioma": (3.2, 1.8), "pituitary": (2.6, 1.8)}[label])
    place = {"glioma": _in_white_matter, "meningioma": _on_dura, "pituitary": _in_sella}[label]
    center, special = place(radius, rng, head)
    normal = special.pop("normal", rng.standard_normal(3))
    stretch = {"glioma": 0.22, "meningioma": 0.10, "pituitary": 0.06}[label]
    patterns = {"glioma": ("ring", "patchy", "none"), "meningioma": ("solid",), "pituitary": ("solid", "cystic")}[label]
    odds = {"glioma": (0.72, 0.18, 0.10), "meningioma": (1.0,), "pituitary": (0.8, 0.2)}[label]
    level = {"glioma": (0.38, 0.56), "meningioma": (0.36, 0.52), "pituitary": (0.34, 0.48)}[label]
    push = {"glioma": 0.22, "meningioma": 0.28, "pituitary": 0.0}[label]
    waves = {"glioma": (0.9, 2.4), "meningioma": (1.6, 3.0), "pituitary": (1.2, 2.6)}[label]
    return Tumour(
        label=label, center=center, radius=radius, **special, pattern=str(rng.choice(patterns, p=odds)),
        level=rng.uniform(*level), push_mm=min(push * radius, 5.0),
        axes=_axes(rng, stretch, normal, flatten=1.2 if label == "meningioma" else 1.0),
        outline=Waves.draw(rng, wavelengths_mm=(waves[0] * radius, waves[1] * radius)),
        texture=Waves.draw(rng, wavelengths_mm=(0.35 * radius, 1.1 * radius), count=10),
        roughness={"glioma": 0.17, "meningioma": 0.05, "pituitary": 0.05}[label],
    )  # fmt: skip


def _axes(rng: np.random.Generator, stretch: float, normal: np.ndarray, flatten: float) -> np.ndarray:
    """Matrix that turns offsets into an ellipsoid's own axes, the first along `normal`, and scales them."""
    basis = rng.standard_normal((3, 3))
    basis[:, 0] = normal
    return np.linalg.qr(basis)[0] * np.exp(rng.uniform(-stretch, stretch, 3)) * (flatten, flatten**-0.5, flatten**-0.5)


def _in_white_matter(radius: float, rng: np.random.Generator, head: Head):
    """A hemisphere's white matter, deep enough that most of the tumour fits; not cerebellum or brain stem."""
    points, distance = head.white_matter, head.sample("brain", head.white_matter)
    fits = (distance > 0.55 * radius) & (np.abs(points[:, 0]) > 13) & ((points[:, 2] > -22) | (points[:, 1] > -10))
    return _pick(points[fits], rng), {}


def _on_dura(radius: float, rng: np.random.Generator, head: Head):
    """Convexity, falx or skull base; the centre lies between half sunk and nearly whole inside the dura."""
    points, (x, y, z) = head.dura, head.dura.T
    site = rng.choice(("convexity", "falx", "base"), p=(0.5, 0.2, 0.3))
    if site == "convexity":
        allowed = z > 5
    elif site == "falx":
        allowed = (np.abs(x) < 3) & (z > 25)
    else:  # sphenoid wing, olfactory groove, petrous bone and tentorium, but not the sella
        allowed = (z < 0) & (z > -42) & (y > -75) & ((np.abs(x) > 26) | (y > 32))
    point = _pick(points[allowed], rng)
    step = 3.0 * np.eye(3)
    inwards = head.sample("depth", point + step) - head.sample("depth", point - step)
    inwards /= np.linalg.norm(inwards)
    center = point + rng.uniform(0.3, 0.65) * radius * inwards
    if site != "falx":
        return center, {"normal": inwards}
    side = int(rng.choice((-1, 1)))
    return center + (side * 0.55 * radius, 0, 0), {"normal": np.array([1.0, 0, 0]), "falx_side": side}


def _in_sella(radius: float, rng: np.random.Generator, head: Head):
    """In the pituitary fossa; a large one rises through the diaphragm into the cistern above."""
    center = SELLA_MM + rng.uniform(-1, 1, 3) * (1.5, 1.5, 1.0)
    rises = radius > 8 and rng.random() < 0.7
    dome = np.array([rng.uniform(-1, 1), rng.uniform(-1, 2), rng.uniform(1.05, 1.25) * radius]) if rises else None
    return center, {"dome": dome}


def _pick(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return points[rng.integers(len(points))].astype(float)
