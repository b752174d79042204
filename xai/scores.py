"""One more network, trained, and how each test slice fares under it: what the leakage, learning-curve and second-head chapters average."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.data.dataset import Dataset
from xai.metrics.overlap import dice
from xai.paths import LABELS, Study
from xai.profiles import Profile


def learn(study: Study, profile: Profile, architecture: str, variant: str = "hybrid") -> None:
    """Train and predict the test split; what is finished is not repeated, what was killed goes on."""
    from xai import predicting, training

    training.fit(study, profile, architecture, variant=variant)
    if not predicted(study, architecture, variant=variant):
        predicting.predict(study, profile, architecture, variant=variant)


def predicted(study: Study, architecture: str, *, variant: str = "hybrid") -> bool:
    """Are there predictions of the weights as they are now, by every head?"""
    weights = study.weights(architecture, variant).stat().st_mtime_ns
    made = [study.predictions(architecture, variant)] if variant != "segmentation_only" else []
    made += [study.test_masks(architecture, variant)] if variant != "classification_only" else []
    return all(path.exists() and path.stat().st_mtime_ns >= weights for path in made)


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
