"""Classification metrics against scikit-learn, hand counts and a bootstrap done the slow way."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from xai.metrics import classification
from xai.metrics.classification import (
    accuracy_by,
    calibration_curve,
    classification_table,
    confusion,
    expected_calibration_error,
    mcnemar,
    roc_curves,
)
from xai.paths import LABELS, StudyError

COLUMNS = [f"prob_{label}" for label in LABELS]


def frame(labels, probabilities, patients=None, planes=None):
    table = pd.DataFrame(np.asarray(probabilities, float), columns=COLUMNS)
    table["id"] = [f"{number:04d}" for number in range(len(table))]
    table["label"] = labels
    table["patient"] = range(len(table)) if patients is None else patients
    table["plane"] = "axial" if planes is None else planes
    return table


def sure(labels, predicted, patients=None, planes=None):
    """Predictions with probability 0.8 for the class named in `predicted`."""
    return frame(labels, [[0.8 if label == name else 0.1 for label in LABELS] for name in predicted], patients, planes)


def random_frame(slices, patients, seed=0, decimals=None):
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, patients, slices)
    truth = generator.integers(0, 3, patients)[owner]
    logits = generator.normal(size=(slices, 3)) + 1.2 * np.eye(3)[truth] + generator.normal(size=(patients, 3))[owner]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None:  # rounding makes ties
        probabilities = probabilities.round(decimals)
    return frame(np.array(LABELS)[truth], probabilities, owner, generator.choice(["axial", "coronal"], slices))


def slow_scores(table):
    """The five scores by scikit-learn, over the classes present."""
    truth = table["label"].map({label: n for n, label in enumerate(LABELS)}).to_numpy()
    probabilities = table[COLUMNS].to_numpy()
    predicted = probabilities.argmax(axis=1)
    present = sorted(set(truth))
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=present, average="macro", zero_division=0)
    areas = [roc_auc_score(truth == n, probabilities[:, n]) for n in present if not (truth == n).all()]
    return {
        "accuracy": accuracy_score(truth, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auc": np.mean(areas) if areas else np.nan,
    }


@given(st.integers(3, 60), st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([None, 1]))
@settings(max_examples=40, deadline=None)
def test_estimates_are_scikit_learns(slices, patients, seed, decimals):
    table = random_frame(slices, patients, seed, decimals)
    ours = classification_table(table, bootstrap=2)
    for metric, expected in slow_scores(table).items():
        assert ours[metric] == pytest.approx(expected, nan_ok=True), metric


def test_hand_counted_scores():
    g, m, p = LABELS
    table = sure([g, g, g, m, m, p], [g, g, m, m, p, p])
    ours = classification_table(table, bootstrap=10)
    assert confusion(table).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert ours["accuracy"] == pytest.approx(4 / 6)
    assert ours["precision"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert ours["recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert ours["f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    # pairs won by positives (.8 against .1), ties (.1 against .1 and .8 against .8) count one half
    auc_glioma = (2 * 3 + 0.5 * 3) / 9
    auc_meningioma = (1 * (3 + 0.5) + 1 * (0.5 * 3)) / 8
    auc_pituitary = (4 + 0.5) / 5
    assert ours["auc"] == pytest.approx((auc_glioma + auc_meningioma + auc_pituitary) / 3)


def test_intervals_equal_a_slow_bootstrap_over_patients():
    table = random_frame(60, 9, seed=3, decimals=1)
    ours = classification_table(table, bootstrap=60, seed=5)
    patients = pd.unique(table["patient"])
    weights = np.random.default_rng(5).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=60)
    groups = [table[table["patient"] == patient] for patient in patients]
    slow = pd.DataFrame(
        [slow_scores(pd.concat([g for g, w in zip(groups, row) for _ in range(w)])) for row in weights]
    )
    for metric in classification.METRICS:
        low, high = np.nanpercentile(slow[metric], [2.5, 97.5])
        assert (ours[f"{metric}_low"], ours[f"{metric}_high"]) == pytest.approx((low, high)), metric


def test_bootstrap_draws_patients_and_not_slices():
    """Two patients of 100 slices each, one all right and one all wrong: accuracy resamples to 0, 1/2 or 1 only."""
    g, m, _ = LABELS
    table = sure([g] * 100 + [m] * 100, [g] * 200, patients=["a"] * 100 + ["b"] * 100)
    ours = classification_table(table, bootstrap=400, seed=1)
    assert (ours["accuracy_low"], ours["accuracy"], ours["accuracy_high"]) == (0.0, 0.5, 1.0)


def test_missing_classes_are_averaged_over_those_present():
    g, m, p = LABELS
    ours = classification_table(sure([g, g, m, m], [g, g, m, p]), bootstrap=20)
    assert ours["recall"] == pytest.approx((1 + 1 / 2) / 2)
    only_one = classification_table(sure([g, g], [g, g]), bootstrap=20)
    assert only_one["accuracy"] == only_one["f1"] == 1.0
    assert np.isnan([only_one["auc"], only_one["auc_low"], only_one["auc_high"]]).all()


def test_a_thousand_resamples_of_a_large_test_split_are_fast():
    import time

    table = random_frame(600, 80)
    start = time.perf_counter()
    classification_table(table, bootstrap=1000)
    assert time.perf_counter() - start < 1.0


def test_accuracy_by_plane_and_class():
    g, m, p = LABELS
    table = sure([g, g, m, p], [g, m, m, g], patients=[1, 1, 2, 3], planes=["axial", "axial", "axial", "sagittal"])
    by_plane = accuracy_by(table, "plane", bootstrap=10).set_index("plane")
    assert by_plane["accuracy"].to_dict() == {"axial": pytest.approx(2 / 3), "sagittal": 0.0}
    assert by_plane[["slices", "patients"]].loc["axial"].tolist() == [3, 2]
    by_label = accuracy_by(table, "label", bootstrap=10).set_index("label")
    assert by_label["accuracy"].to_dict() == {g: 0.5, m: 1.0, p: 0.0}
    with pytest.raises(StudyError, match="no column 'scanner'"):
        accuracy_by(table, "scanner")


def test_roc_curve_of_a_perfect_and_an_inverted_class():
    g, m, p = LABELS
    table = frame([g, m, g, m], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.9, 0]])
    curves = roc_curves(table)
    assert set(curves) == {g, m}  # no pituitary slice, no curve
    false_rate, true_rate, area = curves[g]
    assert area == 1.0 and (0.0, 1.0) in set(zip(false_rate, true_rate))
    table[COLUMNS] = 1 - table[COLUMNS]
    assert roc_curves(table)[g][2] == 0.0


def test_reliability_bins_and_calibration_error_by_hand():
    g, m, _ = LABELS
    table = frame([g, g, m, g], [[0.65, 0.35, 0], [0.62, 0.38, 0], [0.95, 0.05, 0], [1, 0, 0]])
    curve = calibration_curve(table, bins=10)
    assert curve["slices"].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert curve.loc[6, ["confidence", "accuracy"]].tolist() == pytest.approx([0.635, 1.0])
    assert curve.loc[9, ["confidence", "accuracy"]].tolist() == pytest.approx([0.975, 0.5])
    assert np.isnan(curve.loc[0, "accuracy"])
    assert expected_calibration_error(table) == pytest.approx(0.5 * 0.365 + 0.5 * 0.475)


def test_a_calibrated_network_has_a_small_calibration_error():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1, 1, 1], 20000)
    truth = (probabilities.cumsum(axis=1) < generator.random((20000, 1))).sum(axis=1).clip(max=2)
    assert expected_calibration_error(frame(np.array(LABELS)[truth], probabilities)) < 0.02


def test_mcnemar_by_hand():
    g, m, _ = LABELS
    first = sure([g] * 10, [g] * 8 + [m] * 2)
    second = sure([g] * 10, [m] * 6 + [g] * 2 + [g, m]).sample(frac=1, random_state=0)  # order must not matter
    result = mcnemar(first, second)
    assert (result["only_first"], result["only_second"]) == (6, 1)
    assert result["p_value"] == pytest.approx(2 * (1 + 7) / 2**7)  # two-sided binomial tail of 1 in 7
    assert result["difference"] == pytest.approx(0.5)
    assert result["difference_low"] <= 0.5 <= result["difference_high"]
    assert mcnemar(first, first)["p_value"] == 1.0
    with pytest.raises(StudyError, match="same slices"):
        mcnemar(first, second.iloc[1:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="prob_glioma"), "lack the column.*prob_glioma"),
        (lambda table: table.assign(label="abscess"), "unknown label.*abscess"),
        (lambda table: table.assign(prob_glioma=np.nan), "not finite"),
        (lambda table: table.iloc[:0], "no slice"),
    ],
)
def test_bad_tables_are_named(spoil, message):
    with pytest.raises(StudyError, match=message):
        classification_table(spoil(random_frame(6, 3)))
