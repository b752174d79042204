"""Splits: no patient in two of them, every class in each, the same for the same seed."""

from __future__ import annotations

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
