"""How well the networks classify, with intervals that respect the patients.

Slices of one patient resemble each other, so every interval here is a bootstrap over patients: a resample draws
patients with replacement and takes all their slices along. A resample is kept as one weight per patient, which turns
a thousand resamples into a few matrix products.

A prediction table has one row per slice with the columns ``id, label, patient, plane`` (``plane`` only where it is
asked for) and one ``prob_<label>`` column per class.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from xai.paths import LABELS, StudyError

METRICS = ("accuracy", "precision", "recall", "f1", "auc")
INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap distribution: a 95 % interval
RESAMPLES_AT_ONCE = 128  # bounds the memory of the weighted ROC areas to (128, slices) floats


def classification_table(predictions: pd.DataFrame, *, bootstrap: int = 1000, seed: int = 0) -> dict[str, float]:
    """Score one network: accuracy, macro precision, recall, F1 and macro one-vs-rest ROC area, each with its interval.

    Macro means averaged over the classes that occur among the true labels. A class that is never predicted has
    precision 0 (scikit-learn's ``zero_division=0``). In a resample that lacks a class, the macro averages run over the
    classes it has; the ROC area needs a class and its rest, so a resample that holds one class only has no area and is
    left out of that interval. With a single patient every interval collapses to the estimate: it then says nothing.

    Parameters
    ----------
    predictions : DataFrame
        One row per slice, see the module's head.
    bootstrap : int, default 1000
        Number of resamples of patients.
    seed : int, default 0
        Seed of the resampling.

    Returns
    -------
    dict
        ``accuracy, accuracy_low, accuracy_high, precision, ...`` as fractions in [0, 1] (NaN where undefined), and the
        counts ``slices`` and ``patients``.

    Raises
    ------
    StudyError
        If a column is missing, a label is unknown or a probability is not finite.
    """
    truth, probabilities, patients, number_of_patients = _arrays(predictions)
    weights = np.vstack([np.ones(number_of_patients), _resample(number_of_patients, bootstrap, seed)])
    scores = _confusion_scores(_confusions(truth, probabilities.argmax(axis=1), patients, weights))
    scores["auc"] = _macro_auc(truth, probabilities, patients, weights)
    table: dict[str, float] = {}
    for metric in METRICS:
        estimate, resampled = scores[metric][0], scores[metric][1:]
        low, high = _interval(resampled)
        table |= {metric: float(estimate), f"{metric}_low": low, f"{metric}_high": high}
    return table | {"slices": len(truth), "patients": number_of_patients}


def confusion(predictions: pd.DataFrame) -> np.ndarray:
    """Count slices by true class (rows) and predicted class (columns), in the order of `LABELS`; int (3, 3)."""
    truth, probabilities, _, _ = _arrays(predictions)
    return confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(LABELS)))


def accuracy_by(predictions: pd.DataFrame, column: str, *, bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Accuracy within each value of `column` (``"label"``, ``"plane"``, ...) with intervals over patients.

    Within a true class, accuracy is that class's recall.

    Returns
    -------
    DataFrame
        Columns ``<column>, slices, patients, accuracy, accuracy_low, accuracy_high``, one row per value.
    """
    if column not in predictions:
        raise StudyError(f"Predictions have no column {column!r}; they have {', '.join(predictions.columns)}.")
    rows = []
    for value, group in predictions.groupby(column, sort=True):
        table = classification_table(group, bootstrap=bootstrap, seed=seed)
        keep = ("slices", "patients", "accuracy", "accuracy_low", "accuracy_high")
        rows.append({column: value} | {name: table[name] for name in keep})
    return pd.DataFrame(rows)


def roc_curves(predictions: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """One-vs-rest ROC curve of each class.

    Returns
    -------
    dict
        Class -> (false positive rate, true positive rate, area). A class without positives or without negatives has
        no curve and is absent.
    """
    truth, probabilities, _, _ = _arrays(predictions)
    curves = {}
    for number, label in enumerate(LABELS):
        positive = truth == number
        if positive.any() and not positive.all():
            false_rate, true_rate, _ = roc_curve(positive, probabilities[:, number])
            curves[label] = (false_rate, true_rate, float(roc_auc_score(positive, probabilities[:, number])))
    return curves


def calibration_curve(predictions: pd.DataFrame, *, bins: int = 10) -> pd.DataFrame:
    """Reliability of the stated confidence (the largest probability), in bins of equal width (Guo et al. 2017).

    Returns
    -------
    DataFrame
        One row per bin: ``low, high`` (edges; a confidence on an edge belongs to the bin above it, 1 to the last),
        ``slices``, mean ``confidence`` and ``accuracy`` in the bin (NaN where it is empty).
    """
    truth, probabilities, _, _ = _arrays(predictions)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)
    slices = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(number, weights=confidence, minlength=bins) / slices
        accuracy = np.bincount(number, weights=correct, minlength=bins) / slices
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "slices": slices, "confidence": mean_confidence, "accuracy": accuracy}
    )


def expected_calibration_error(predictions: pd.DataFrame, *, bins: int = 10) -> float:
    """Mean distance of confidence from accuracy over the bins, weighted by their slices (Guo et al. 2017, eq. 3)."""
    curve = calibration_curve(predictions, bins=bins)
    gap = (curve["accuracy"] - curve["confidence"]).abs().fillna(0)
    return float((gap * curve["slices"]).sum() / curve["slices"].sum())


def mcnemar(first: pd.DataFrame, second: pd.DataFrame, *, bootstrap: int = 1000, seed: int = 0) -> dict[str, float]:
    """Compare two networks on the same slices: exact McNemar test, and the difference of accuracy with its interval.

    McNemar's test counts slices as independent, which slices of one patient are not, so its p value is optimistic;
    the interval of the difference is by bootstrap over patients and is the one to trust.

    Returns
    -------
    dict
        ``only_first``, ``only_second`` (slices that only one of them gets right), two-sided ``p_value``,
        ``difference`` (accuracy of the first minus the second), ``difference_low``, ``difference_high``.

    Raises
    ------
    StudyError
        If the two tables do not hold the same slices with the same labels.
    """
    first, second = first.sort_values("id"), second.sort_values("id")
    if list(first["id"]) != list(second["id"]) or list(first["label"]) != list(second["label"]):
        raise StudyError(
            f"McNemar's test needs the same slices and labels in both tables, but they differ "
            f"({len(first)} and {len(second)} rows); predict both networks on the same test split."
        )
    truth, probabilities, patients, number_of_patients = _arrays(first)
    _, other_probabilities, _, _ = _arrays(second)
    right = probabilities.argmax(axis=1) == truth
    other_right = other_probabilities.argmax(axis=1) == truth
    only_first, only_second = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    discordant = only_first + only_second
    weights = _resample(number_of_patients, bootstrap, seed)
    gain = np.bincount(patients, weights=right.astype(float) - other_right, minlength=number_of_patients)
    slices = np.bincount(patients, minlength=number_of_patients)
    low, high = _interval((weights @ gain) / (weights @ slices))
    return {
        "only_first": only_first,
        "only_second": only_second,
        "p_value": float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
        "difference": float(right.mean() - other_right.mean()),
        "difference_low": low,
        "difference_high": high,
    }


def _arrays(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Check a prediction table and give class numbers (N,), probabilities (N, 3), patient numbers (N,), their count."""
    columns = [f"prob_{label}" for label in LABELS]
    missing = [name for name in ["id", "label", "patient", *columns] if name not in predictions]
    if missing:
        raise StudyError(f"Predictions lack the column(s) {', '.join(missing)}; run the training chapter again.")
    if predictions.empty:
        raise StudyError("Predictions hold no slice; expected at least one in the test split.")
    unknown = sorted(set(predictions["label"]) - set(LABELS))
    if unknown:
        raise StudyError(f"Predictions hold the unknown label(s) {', '.join(map(str, unknown))}; known: {', '.join(LABELS)}.")
    probabilities = predictions[columns].to_numpy(dtype=float)
    if not np.isfinite(probabilities).all():
        raise StudyError("Predictions hold a probability that is not finite; the network diverged: train it again.")
    truth = predictions["label"].map({label: number for number, label in enumerate(LABELS)}).to_numpy()
    patients, names = pd.factorize(predictions["patient"], use_na_sentinel=False)
    return truth, probabilities, patients, len(names)


def _resample(number_of_patients: int, draws: int, seed: Sequence[int] | int) -> np.ndarray:
    """How often each patient is drawn in each resample; int (draws, patients), every row sums to `patients`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(number_of_patients, np.full(number_of_patients, 1 / number_of_patients), size=draws)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the resamples in which the score is defined; NaN if there is none."""
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)


def _confusions(truth: np.ndarray, predicted: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Confusion matrices (draws, 3, 3) of all resamples, from one matrix per patient."""
    classes = len(LABELS)
    cell = (patients * classes + truth) * classes + predicted
    per_patient = np.bincount(cell, minlength=weights.shape[1] * classes**2).reshape(-1, classes**2)
    return (weights @ per_patient).reshape(-1, classes, classes)


def _confusion_scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and macro precision, recall and F1 (draws,) of confusion matrices (draws, 3, 3)."""
    hits = np.diagonal(matrices, axis1=1, axis2=2)  # (draws, classes)
    true_count, predicted_count = matrices.sum(axis=2), matrices.sum(axis=1)
    present = true_count > 0
    classes_present = present.sum(axis=1)

    def macro(scores: np.ndarray) -> np.ndarray:
        return np.where(present, scores, 0).sum(axis=1) / classes_present

    return {
        "accuracy": hits.sum(axis=1) / matrices.sum(axis=(1, 2)),
        "precision": macro(hits / np.maximum(predicted_count, 1)),
        "recall": macro(hits / np.maximum(true_count, 1)),
        "f1": macro(2 * hits / np.maximum(true_count + predicted_count, 1)),
    }


def _macro_auc(truth: np.ndarray, probabilities: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Macro one-vs-rest ROC area (draws,): the mean over the classes that have positives and negatives, else NaN."""
    areas = np.stack(
        [_auc(truth == number, probabilities[:, number], patients, weights) for number in range(probabilities.shape[1])]
    )
    defined = np.isfinite(areas)
    with np.errstate(invalid="ignore"):
        return np.where(defined, areas, 0).sum(axis=0) / defined.sum(axis=0)


def _auc(positive: np.ndarray, score: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC area (draws,) as the weighted Mann-Whitney statistic, ties counted half; NaN without positives or negatives."""
    order = np.argsort(score, kind="stable")
    positive, owner = positive[order], patients[order]
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])  # first slice of each run of equal scores
    areas = np.empty(len(weights))
    for begin in range(0, len(weights), RESAMPLES_AT_ONCE):
        part = slice(begin, begin + RESAMPLES_AT_ONCE)
        slice_weights = weights[part][:, owner].astype(float)
        positives = np.add.reduceat(slice_weights * positive, starts, axis=1)
        negatives = np.add.reduceat(slice_weights * ~positive, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        with np.errstate(invalid="ignore"):
            areas[part] = (positives * (below + negatives / 2)).sum(axis=1) / pairs
    return areas
