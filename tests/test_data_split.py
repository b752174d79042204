"""Splits: no patient in two of them, every class in each, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from conftest import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.data import split_by_patient
from xai.paths import LABELS, StudyError

SPLITS = ("train", "validation", "test")


def _index(patients: list[tuple[str, int]]) -> pd.DataFrame:
    """A table of slices from (class, number of slices) of each patient."""
    rows = [(label, f"P{number:03d}") for number, (label, slices) in enumerate(patients) for _ in range(slices)]
    return pd.DataFrame(rows, columns=["label", "patient"])


@st.composite
def indexes(draw) -> pd.DataFrame:
    """Three to nine patients of each class with one to twelve slices each, rows in any order."""
    patients = [(label, draw(st.integers(1, 12))) for label in LABELS for _ in range(draw(st.integers(3, 9)))]
    return _index(patients).sample(frac=1, random_state=draw(st.integers(0, 99))).reset_index(drop=True)


@given(index=indexes(), seed=st.integers(0, 2**31), test_share=st.floats(0.01, 0.49), validation_share=st.floats(0.01, 0.49))
@settings(max_examples=30, deadline=None)
def test_splits_keep_their_promises(index, seed, test_share, validation_share):
    shares = {"test_share": test_share, "validation_share": validation_share}
    split = split_by_patient(index, seed=seed, **shares)
    assert split.index.equals(index.index) and set(split) == set(SPLITS)
    of_patient = {patient: set(split[rows]) for patient, rows in index.groupby("patient").groups.items()}
    assert all(len(found) == 1 for found in of_patient.values())
    for label in LABELS:
        assert set(split[index["label"] == label]) == set(SPLITS)
    # The same patients go the same way whatever the order of the rows.
    mixed = index.iloc[np.random.default_rng(0).permutation(len(index))]
    again = split_by_patient(mixed, seed=seed, **shares)
    assert again.sort_index().equals(split)


@st.composite
def untidy_indexes(draw) -> pd.DataFrame:
    """What a source may bring: patients with slices of any classes and published folds, some without; odd row labels, rows in any order."""
    slices = st.tuples(st.sampled_from(LABELS), st.sampled_from(["", "1", "2", "3", "4"]))
    patients = [draw(st.lists(slices, min_size=1, max_size=6)) for _ in range(draw(st.integers(1, 30)))]
    rows = [(label, f"P{number:03d}", fold) for number, patient in enumerate(patients) for label, fold in patient]
    index = pd.DataFrame(rows, columns=["label", "patient", "fold"], index=[f"row {number}" for number in range(len(rows))])
    return index.sample(frac=1, random_state=draw(st.integers(0, 99)))


@given(index=untidy_indexes(), seed=st.integers(0, 1000), options=st.sampled_from([{}, {"test_fold": 4, "validation_fold": 1}]))
@settings(max_examples=60, deadline=None)
def test_whatever_the_labels_folds_and_sizes_no_patient_is_in_two_splits(index, seed, options):
    """Or the split is refused, in one sentence, because a class or a fold does lack patients."""
    try:
        split = split_by_patient(index, seed=seed, **options)
    except StudyError as error:
        one_sentence(str(error))
        if options:
            fold = _majority_fold(index)
            groups = [fold == "4", fold == "1", ~fold.isin(["1", "4"])]
            present = set(index["label"])
            assert not {"1", "4"} <= set(index["fold"]) or any(set(index["label"][group]) != present for group in groups)
        else:
            deciding = Counter(min(labels.mode()) for _, labels in index.groupby("patient")["label"])
            assert min(deciding[label] for label in index["label"].unique()) < 3
        return
    assert split.index.equals(index.index) and set(split) == set(SPLITS)
    assert (split.groupby(index["patient"]).nunique() == 1).all()
    for label in index["label"].unique():
        assert set(split[index["label"] == label]) == set(SPLITS)
    mixed = index.sample(frac=1, random_state=seed)
    assert split_by_patient(mixed, seed=seed, **options).loc[index.index].equals(split)


def _majority_fold(index: pd.DataFrame) -> pd.Series:
    """The fold of most of a patient's slices that have one, the lowest of equals; "" where none has; one value per row."""
    def majority(folds: pd.Series) -> str:
        counted = Counter(fold for fold in folds if fold)
        return min(counted, key=lambda fold: (-counted[fold], fold), default="")
    return index["patient"].map({patient: majority(folds) for patient, folds in index.groupby("patient")["fold"]})


@st.composite
def published(draw, crossing: bool) -> pd.DataFrame:
    """Two patients of each class in every fold, and more; with `crossing`, repeat exams that were published in other folds."""
    rows = []
    for label in LABELS:
        for number in range(8 + draw(st.integers(0, 4))):
            first = number % 4 + 1
            folds = [first] * draw(st.integers(3, 6))
            if crossing:
                folds += draw(st.lists(st.integers(1, 4), max_size=5))
            rows += [(label, f"{label}{number}", str(fold)) for fold in folds]
    index = pd.DataFrame(rows, columns=["label", "patient", "fold"])
    return index.sample(frac=1, random_state=draw(st.integers(0, 99)))


@given(index=published(crossing=False), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), share=st.floats(0.01, 0.49))
@settings(max_examples=20, deadline=None)
def test_published_folds_are_honoured_to_the_slice_where_no_patient_crosses(index, seeds, share):
    """Neither seed nor share has a say."""
    expected = index["fold"].map({"4": "test", "1": "validation"}).fillna("train")
    for seed in seeds:
        assert (split_by_patient(index, seed=seed, test_share=share, test_fold=4, validation_fold=1) == expected).all()


@given(index=published(crossing=True), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_repeat_exams_follow_the_fold_of_most_slices(index, seed):
    """Every slice goes where the majority of its patient goes, and only slices of patients that cross leave their published fold."""
    expected = _majority_fold(index).map({"4": "test", "1": "validation"}).fillna("train")
    missing = any(set(expected[index["label"] == label]) != set(SPLITS) for label in LABELS)
    if missing:
        with pytest.raises(StudyError, match="would hold no"):
            split_by_patient(index, seed=seed, test_fold=4, validation_fold=1)
        return
    split = split_by_patient(index, seed=seed, test_fold=4, validation_fold=1)
    assert split.equals(expected.rename(split.name))
    moved = split != index["fold"].map({"4": "test", "1": "validation"}).fillna("train")
    crossing = index.groupby("patient")["fold"].transform("nunique") > 1
    assert not (moved & ~crossing).any()


@given(index=indexes(), seed=st.integers(0, 1000), share=st.floats(0.01, 0.49))
@settings(max_examples=30, deadline=None)
def test_the_test_share_of_a_class_is_met_within_one_patient(index, seed, share):
    """Without exception: also where a class has three patients, and where the share is less than one."""
    split = split_by_patient(index, seed=seed, test_share=share)
    for label in LABELS:
        part = index[index["label"] == label]
        largest = part.groupby("patient").size().max()
        assert abs((split[part.index] == "test").sum() - share * len(part)) <= largest + 1e-9


@given(index=indexes(), seed=st.integers(0, 1000), share=st.floats(0.05, 0.45))
@settings(max_examples=25, deadline=None)
def test_shares_are_met_to_half_a_patient(index, seed, share):
    """As near as whole patients allow, unless the split holds its one patient or takes all but the two others need."""
    split = split_by_patient(index, seed=seed, test_share=share)
    for label in LABELS:
        part = index[index["label"] == label]
        test = part[split[part.index] == "test"]
        largest, patients = part.groupby("patient").size().max(), test["patient"].nunique()
        assert (
            abs(len(test) - share * len(part)) <= largest / 2 + 1e-9 or patients == 1 or patients == part["patient"].nunique() - 2
        )


@pytest.mark.parametrize("seed", range(6))
def test_three_patients_are_one_for_each_split(seed):
    """Even where the two small ones together would come nearer to the share."""
    index = _index([(label, slices) for label in LABELS for slices in (1, 1, 12)])
    split = split_by_patient(index, seed=seed, test_share=0.49, validation_share=0.49)
    assert (index.groupby(["label", split])["patient"].nunique() == 1).all()


def test_equal_patients_give_the_shares_exactly_and_each_seed_its_own_draw():
    index = _index([(label, 5) for label in LABELS for _ in range(20)])
    draws = [split_by_patient(index, seed=seed, test_share=0.2, validation_share=0.15) for seed in (1, 1, 2)]
    for label in LABELS:
        counts = draws[0][index["label"] == label].value_counts()
        assert counts.to_dict() == {"train": 13 * 5, "test": 4 * 5, "validation": 3 * 5}
    assert draws[0].equals(draws[1]) and not draws[0].equals(draws[2])
    # Seeds must not move all classes by the same pattern.
    places = [tuple(np.flatnonzero((draws[0][index["label"] == label] == "test"))) for label in LABELS]
    assert len(set(places)) == 3


def _folds(**folds_of_patient: list[int]) -> pd.DataFrame:
    rows = [(patient[0], patient, fold) for patient, folds in folds_of_patient.items() for fold in folds]
    return pd.DataFrame(rows, columns=["label", "patient", "fold"]).replace({"label": dict(zip("gmp", LABELS))})


PUBLISHED = {f"{label}{fold}": [fold] * 2 for label in "gmp" for fold in (1, 2, 3, 4)}


def _of_patients(index: pd.DataFrame, **options) -> dict[str, str]:
    split = split_by_patient(index, seed=0, **options)
    assert (split.groupby(index["patient"]).nunique() == 1).all()
    return dict(zip(index["patient"], split))


def test_published_folds_decide():
    found = _of_patients(_folds(**PUBLISHED), test_fold=4, validation_fold=1)
    for patient, split in found.items():
        assert split == {"1": "validation", "4": "test"}.get(patient[1], "train")


def test_a_patient_published_in_several_folds_goes_where_most_of_its_slices_are():
    index = _folds(**PUBLISHED, g9=[4, 1, 4], m9=[1, 2, 2], p9=[4, 1, 1, 4])
    found = _of_patients(index, test_fold=4, validation_fold=1)
    assert (found["g9"], found["m9"], found["p9"]) == ("test", "train", "validation"), "of equals the lowest: fold 1"


def test_slices_without_a_fold_train_or_follow_their_patient():
    index = _folds(**PUBLISHED, g9=[0, 0], m9=[4, 0]).astype({"fold": str}).replace({"fold": {"0": ""}})
    found = _of_patients(index, test_fold=4, validation_fold=1)
    assert (found["g9"], found["m9"]) == ("train", "test")


@pytest.mark.parametrize(("test_fold", "validation_fold", "key"), [(7, 1, "test_fold` is 7"), (1, 9, "validation_fold` is 9")])
def test_a_fold_that_is_not_there(test_fold, validation_fold, key):
    with pytest.raises(StudyError) as raised:
        split_by_patient(_folds(**PUBLISHED), seed=0, test_fold=test_fold, validation_fold=validation_fold)
    assert f"`data.{key}, but the data's folds are: 1, 2, 3, 4" in one_sentence(str(raised.value))


def test_a_fold_without_a_class_names_split_and_class():
    index = _folds(**{patient: folds for patient, folds in PUBLISHED.items() if patient != "m4"})
    with pytest.raises(StudyError) as raised:
        split_by_patient(index, seed=0, test_fold=4, validation_fold=1)
    assert "Split test would hold no meningioma: found 3 patients" in one_sentence(str(raised.value))


def test_too_few_patients_for_three_splits():
    index = _index([("glioma", 9), ("glioma", 9), *[(label, 2) for label in LABELS[1:] for _ in range(3)]])
    with pytest.raises(StudyError) as raised:
        split_by_patient(index, seed=0)
    assert "Class glioma has 2 patient(s); expected at least three" in one_sentence(str(raised.value))


def test_a_patient_of_two_classes_counts_for_the_most_frequent():
    """Were the mixed patient dealt with the pituitary ones, that class would have four to deal and could fill its splits."""
    index = pd.concat([_index([(label, 4) for label in LABELS[:2] for _ in range(4)]), pd.DataFrame({
        "label": ["pituitary"] * 4 + ["glioma"] * 2 + ["pituitary"], "patient": ["A", "A", "B", "B", "C", "C", "C"],
    })], ignore_index=True)  # fmt: skip
    with pytest.raises(StudyError, match=r"Class pituitary has 2 patient\(s\)"):
        split_by_patient(index, seed=0)
