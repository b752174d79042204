"""Findings drawn at random within the schema: no network, no image, every field that a report may use."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.findings import Findings
from xai.paths import LABELS, METHODS, PLANES

NETWORKS = (
    "vgg16", "vgg19", "resnet50", "resnet50v2", "xception", "inceptionv3", "densenet121", "efficientnetb0", "inceptionresnetv2",
)  # fmt: skip
# Names of the Harvard-Oxford atlas as its label file spells them, with the lobe, where each has one.
REGIONS = {
    "Frontal Pole": "frontal", "Superior Frontal Gyrus": "frontal", "Middle Frontal Gyrus": "frontal",
    "Inferior Frontal Gyrus pars opercularis": "frontal", "Precentral Gyrus": "frontal", "Frontal Medial Cortex": "frontal",
    "Frontal Orbital Cortex": "frontal", "Subcallosal Cortex": "frontal", "Central Opercular Cortex": "frontal",
    "Temporal Pole": "temporal", "Superior Temporal Gyrus posterior division": "temporal",
    "Middle Temporal Gyrus anterior division": "temporal", "Inferior Temporal Gyrus temporooccipital part": "temporal",
    "Temporal Fusiform Cortex posterior division": "temporal", "Planum Polare": "temporal",
    "Postcentral Gyrus": "parietal", "Superior Parietal Lobule": "parietal", "Angular Gyrus": "parietal",
    "Supramarginal Gyrus anterior division": "parietal", "Precuneous Cortex": "parietal",
    "Lateral Occipital Cortex superior division": "occipital", "Occipital Pole": "occipital", "Lingual Gyrus": "occipital",
    "Cuneal Cortex": "occipital", "Insular Cortex": "insular", "Cingulate Gyrus anterior division": "limbic",
    "Parahippocampal Gyrus posterior division": "limbic", "Thalamus": None, "Putamen": None, "Caudate": None,
    "Hippocampus": None, "Amygdala": None,
}  # fmt: skip
FLAGS = ("low class probability", "plane found by matching", "low match score")


def draw_findings(number: int, draw: np.random.Generator) -> Findings:
    """Plausible findings of one slice; one in twenty has an empty mask, one in ten no region, one in seven no side."""
    label, plane = str(draw.choice(LABELS)), str(draw.choice(PLANES))
    size = int(draw.choice([80, 96, 128, 224, 256]))
    empty = draw.random() < 0.05
    return Findings.model_validate({
        "id": f"drawn-{number:04d}", "plane": plane, "image_size": size, "model": str(draw.choice(NETWORKS)),
        "cam_method": str(draw.choice(METHODS)), "prediction": {"label": label, "probabilities": _probabilities(label, draw)},
        "mask": {"area_percent": 0, "area_pixels": 0} if empty else _mask(size, draw),
        "anatomy": {} if empty else _anatomy(draw),
        "quality_flags": [str(flag) for flag in draw.choice(FLAGS, int(draw.integers(0, 3)), replace=False)],
        "provenance": {"study": "drawn", "created": "2026-01-01T00:00:00+00:00", "xai_version": "0"},
    })  # fmt: skip


def _probabilities(label: str, draw: np.random.Generator) -> dict[str, float]:
    first = draw.uniform(0.42, 0.98)
    second = (1 - first) * draw.uniform(0.55, 0.95)
    others = [str(name) for name in draw.permutation([name for name in LABELS if name != label])]
    return {label: first, others[0]: second, others[1]: 1 - first - second}


def _mask(size: int, draw: np.random.Generator) -> dict[str, Any]:
    pixels = int(draw.uniform(0.015, 0.15) * size * size)
    centre = draw.uniform(0.3, 0.7, 2) * size
    half = np.sqrt(pixels) / 2 + 2
    box = [int(centre[0] - half), int(centre[1] - half), int(centre[0] + half), int(centre[1] + half)]
    return {
        "area_percent": 100 * pixels / size**2, "area_pixels": pixels, "centroid_pixels": tuple(centre),
        "bounding_box_pixels": box, "segmentation_agreement_dice": draw.uniform(0.1, 0.95),
    }  # fmt: skip


def _anatomy(draw: np.random.Generator) -> dict[str, Any]:
    side = str(draw.choice(["left", "right", "midline", "not determinable"], p=[0.4, 0.4, 0.06, 0.14]))
    centre = draw.uniform([5, -90, -40], [60, 60, 70]) * ([-1, 1, 1] if side == "left" else 1)
    spread = draw.choice([draw.uniform(1, 4.9), draw.uniform(5.1, 9.9), draw.uniform(10.5, 24)], p=[0.35, 0.35, 0.3])
    anatomy = {
        "hemisphere": side, "centroid_mni_mm": tuple(centre) if draw.random() < 0.8 else None,
        "centroid_sd_mm": (float(spread) * 0.5,) * 3, "through_plane_sd_mm": float(spread), "match_score": draw.uniform(0.4, 0.95),
    }  # fmt: skip
    if draw.random() < 0.1:
        return anatomy | {"outside_atlas_probability": draw.uniform(0.6, 0.95)}
    count = int(draw.integers(1, 4))
    names = [str(name) for name in draw.choice(list(REGIONS), count, replace=False)]
    probability, share = draw.uniform(0.5, 0.75) if draw.random() < 0.5 else draw.uniform(0.22, 0.45), 75.0
    regions = []
    for number, name in enumerate(names):
        sided = side if side in ("left", "right") else "not determinable"
        if side == "midline":
            sided = ("left", "right")[number % 2]
        regions.append({"name": name, "hemisphere": sided, "probability": probability, "overlap_percent": share})
        probability, share = probability * draw.uniform(0.3, 0.6), share * draw.uniform(0.2, 0.4)
    return anatomy | {
        "regions": regions, "outside_atlas_probability": draw.uniform(0.03, 0.45), "lobe": REGIONS[names[0]],
    }  # fmt: skip
