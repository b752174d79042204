"""A prepared dataset of a few dozen 32-pixel slices, small enough to train a network on within seconds."""

import numpy as np

from xai.data.dataset import Slice, prepare
from xai.paths import LABELS, Study

SIZE = 32
COUNTS = {"train": 12, "validation": 6, "test": 35}  # 35: predictions come in batches of 32


def scattered_splits(seed: int) -> list[str]:
    """Splits in mixed order, so that rows of a split are not simply a range."""
    names = [name for name, count in COUNTS.items() for _ in range(count)]
    return list(np.random.default_rng(seed).permutation(names))


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
    splits = scattered_splits(seed)
    seen = dict.fromkeys(COUNTS, 0)
    slices = []
    for number, split in enumerate(splits):
        slices.append(slice_of(number, LABELS[seen[split] % 3]))
        seen[split] += 1
    study = Study(root)
    prepare(study, slices, count=len(slices), image_size=SIZE, source="small", assign_splits=lambda index: splits)
    return study
