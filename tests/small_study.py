"""A prepared dataset of a few dozen 32-pixel slices, small enough to train a network on within seconds."""

import numpy as np

from xai.data.dataset import Slice, prepare
from xai.paths import LABELS, Study

SIZE = 32
COUNTS = {"train": 12, "validation": 6, "test": 35}  # 35: predictions come in batches of 32


def scattered(draw: np.random.Generator, counts: dict[str, int]) -> list[str]:
    """Each name as often as its count, in mixed order, so that what belongs together is not simply a range of rows."""
    return list(draw.permutation([name for name, count in counts.items() for _ in range(count)]))


def even_counts(count: int) -> dict[str, int]:
    return {label: (count + 2 - number) // 3 for number, label in enumerate(LABELS)}


def slice_of(number: int, label: str) -> Slice:
    """Noise with a bright rectangle, which is the mask; its place and size follow from the number, so all slices differ."""
    draw = np.random.default_rng(number)
    image = draw.integers(0, 120, (SIZE, SIZE)).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    top, left = draw.integers(2, 16, 2)
    height, width = draw.integers(6, 12, 2)
    mask[top : top + height, left : left + width] = 1
    image[mask > 0] += 100
    return Slice(f"s{number:03d}", image, mask, label, f"patient{number:03d}", "axial")


def write_small_study(root, *, seed: int = 1) -> Study:
    """Write the dataset below `root`; each split holds all three classes, one slice per patient."""
    draw = np.random.default_rng(seed)
    splits = scattered(draw, COUNTS)
    labels = {split: scattered(draw, even_counts(count)) for split, count in COUNTS.items()}
    slices = [slice_of(number, labels[split].pop()) for number, split in enumerate(splits)]
    study = Study(root)
    prepare(study, slices, count=len(slices), image_size=SIZE, source="small", assign_splits=lambda index: splits)
    return study
