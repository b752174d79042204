"""How far plane and place alone give the class away: classifiers that never see a pixel of the image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.paths import LABELS

NEIGHBOURS = 15
FOLDS = 5
# What a classifier sees -> how it decides. The first knows only how common each class is.
VIEWS = (
    ("nothing", "most frequent class"),
    ("plane", "logistic regression"),
    ("place", "nearest neighbours"),
    ("plane and place", "nearest neighbours"),
    ("plane and place", "logistic regression"),
)


def shortcut_predictions(statistics: pd.DataFrame, *, seed: int = 0) -> dict[tuple[str, str], pd.DataFrame]:
    """Predict the class of training slices from their plane and the centroid of their mask, by cross-validation over patients.

    Five folds of whole patients, stratified by class; fewer where a class has fewer patients. Test and validation slices are not
    touched, nor is a slice with an empty mask, which has no place.

    Parameters
    ----------
    statistics : DataFrame
        Columns ``id, label, patient, plane, split, row, column``, as `slice_statistics` gives them.
    seed : int, default 0
        Seed of the folds.

    Returns
    -------
    dict
        (what is seen, classifier) of `VIEWS` -> one row per slice: ``id, label, patient, plane, prob_<label>``, each slice predicted
        by a classifier that saw none of its patient. Empty if a class has fewer than two patients in training.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    train = statistics[(statistics["split"] == "train") & statistics["row"].notna()].reset_index(drop=True)
    smallest = min(train.loc[train["label"] == label, "patient"].nunique() for label in LABELS)
    if smallest < 2:
        return {}
    place = train[["row", "column"]].to_numpy(float)
    plane = pd.get_dummies(train["plane"]).to_numpy(float)
    truth = train["label"].to_numpy()
    folds = list(StratifiedGroupKFold(min(FOLDS, smallest), shuffle=True, random_state=seed).split(place, truth, train["patient"]))
    predictions = {}
    for sees, how in VIEWS:
        features = _features(sees, how, plane, place)
        probabilities = np.zeros((len(train), len(LABELS)))
        for fitted, held_out in folds:
            model = _classifier(how, len(fitted)).fit(features[fitted], truth[fitted])
            columns = [LABELS.index(label) for label in model.classes_]
            probabilities[held_out[:, None], columns] = model.predict_proba(features[held_out])
        table = train[["id", "label", "patient", "plane"]].copy()
        table[[f"prob_{label}" for label in LABELS]] = probabilities
        predictions[sees, how] = table
    return predictions


def shortcut_table(predictions: dict[tuple[str, str], pd.DataFrame], *, bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Score `shortcut_predictions`: accuracy, and the share found of each class, with 95 % intervals by bootstrap over patients.

    Returns
    -------
    DataFrame
        ``sees, classifier``; ``accuracy`` over slices, ``recall`` as mean over classes, and ``glioma, meningioma, pituitary``
        (recall), each with ``_low`` and ``_high``; no row where there are no predictions.
    """
    from xai.metrics.classification import accuracy_by, classification_table

    rows = []
    for (sees, how), table in predictions.items():
        scores = classification_table(table, bootstrap=bootstrap, seed=seed)
        row = {"sees": sees, "classifier": how}
        row |= {f"{name}{end}": scores[f"{name}{end}"] for name in ("accuracy", "recall") for end in ("", "_low", "_high")}
        for part in accuracy_by(table, "label", bootstrap=bootstrap, seed=seed).to_dict("records"):
            row |= {f"{part['label']}{end}": part[f"accuracy{end}"] for end in ("", "_low", "_high")}
        rows.append(row)
    names = [f"{name}{end}" for name in ("accuracy", "recall", *LABELS) for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["sees", "classifier", *names])


def _features(sees: str, how: str, plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """What the classifier is given, float (N, F)."""
    if sees == "nothing":
        return np.zeros((len(place), 1))
    if sees == "plane":
        return plane
    if sees == "place":
        return place
    if how == "nearest neighbours":
        # Far beyond any distance in pixels: a neighbour is looked for in the same plane first.
        return np.hstack([place, 1e4 * plane])
    # A surface of second order over the image for each plane.
    row, column = (place / max(float(place.max()), 1.0) * 2 - 1).T
    surface = np.stack([np.ones_like(row), row, column, row * column, row**2, column**2], axis=1)
    return (plane[:, :, None] * surface[:, None, :]).reshape(len(place), -1)


def _classifier(how: str, slices: int):
    # Imported late: preparing slices, which imports this package, should not wait for scikit-learn.
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    if how == "most frequent class":
        return DummyClassifier(strategy="prior")
    if how == "nearest neighbours":
        return KNeighborsClassifier(min(NEIGHBOURS, slices))
    return LogisticRegression(C=10.0, max_iter=2000)
