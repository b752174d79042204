"""How each test slice fares under one trained network: what the leakage, learning-curve and second-head chapters average."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.metrics.overlap import dice
from xai.paths import LABELS, Study


def slice_scores(study: Study, architecture: str, variant: str = "hybrid", *, made_by: str) -> pd.DataFrame:
    """Scores of every test slice, from the predictions that stand on disk.

    Parameters
    ----------
    made_by : str
        The chapter that predicts, for the message when it has not.

    Returns
    -------
    DataFrame
        id, patient, and ``accuracy`` (0 or 1) and ``dice`` of the mask head where the variant has that head; in dataset order.
    """
    dataset = Dataset(study)
    rows = dataset.rows("test")
    table = dataset.index.loc[rows, ["id", "patient"]].reset_index(drop=True)
    if variant != "segmentation_only":
        path = study.need(study.predictions(architecture, variant), made_by)
        probabilities = pd.read_csv(path)[[f"prob_{label}" for label in LABELS]].to_numpy(float)
        table["accuracy"] = (probabilities.argmax(axis=1) == dataset.labels(rows)).astype(float)
    if variant != "classification_only":
        found = np.load(study.need(study.test_masks(architecture, variant), made_by)) > 0.5
        table["dice"] = dice(found, np.asarray(dataset.masks[rows]) > 0)
    return table
