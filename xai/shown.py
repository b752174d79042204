"""Which test slices the book shows, the same ones in every chapter."""

from __future__ import annotations

import numpy as np

from xai.data.dataset import Dataset
from xai.paths import LABELS, Study
from xai.profiles import Profile


def cases_to_show(study: Study, profile: Profile) -> np.ndarray:
    """Positions within the test split of one explained slice per class, the middle one of `balanced_rows`."""
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", profile.saliency.test_slices)
    labels = dataset.index["label"].to_numpy()[rows]
    middle = [rows[labels == label][len(rows[labels == label]) // 2] for label in LABELS]
    return np.searchsorted(dataset.rows("test"), middle)
