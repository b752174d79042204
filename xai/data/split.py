"""Splits by patient: no patient is ever in two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xai.paths import StudyError


def split_by_patient(
    index: pd.DataFrame,
    *,
    seed: int,
    validation_share: float = 0.15,
    test_share: float = 0.2,
    validation_fold: int | None = None,
    test_fold: int | None = None,
) -> pd.Series:
    """Assign every slice to train, validation or test, whole patients at a time.

    With published folds, those decide; a patient whose exams were published in several folds (figshare has 15 such)
    goes whole to the fold of most of its slices, the lowest of equals. Without folds, the patients of each class are shuffled and dealt until the
    share of slices is reached, so that classes keep their balance. A patient with slices of several
    classes counts for the most frequent one.

    Parameters
    ----------
    index : pandas.DataFrame
        Columns label, patient, and fold where folds are used.

    Returns
    -------
    pandas.Series
        "train", "validation" or "test", on the index of the input.

    Raises
    ------
    StudyError
        A fold does not exist, or a class has too few patients to be in every split.
    """
    if test_fold is not None:
        split = _by_fold(index, validation_fold, test_fold)
    else:
        split = _by_share(index, seed, validation_share, test_share)
    check_classes(index, split)
    return split


def check_classes(index: pd.DataFrame, split: pd.Series) -> None:
    """Raise a StudyError if a class is missing from train, validation or test."""
    present = pd.crosstab(index["label"], split)
    for name in ("train", "validation", "test"):
        for label in present.index:
            if name not in present or present.loc[label, name] == 0:
                raise StudyError(
                    f"Split {name} would hold no {label}: found {index[index['label'] == label]['patient'].nunique()} "
                    "patients of that class; expected at least one in each of train, validation and test."
                )


def _by_fold(index: pd.DataFrame, validation_fold: int | None, test_fold: int) -> pd.Series:
    folds = pd.to_numeric(index["fold"], errors="coerce") if "fold" in index else pd.Series(np.nan, index=index.index)
    for name, fold in (("test", test_fold), ("validation", validation_fold)):
        if not (folds == fold).any():
            found = ", ".join(str(int(f)) for f in sorted(folds.dropna().unique())) or "none"
            raise StudyError(f"`data.{name}_fold` is {fold}, but the data's folds are: {found}; name one of them, or remove both folds to split by shares.")
    folds = index["patient"].map(folds.groupby(index["patient"]).agg(lambda values: values.mode().min()))
    split = pd.Series("train", index=index.index)
    split[folds == validation_fold] = "validation"
    split[folds == test_fold] = "test"
    return split


def _by_share(index: pd.DataFrame, seed: int, validation_share: float, test_share: float) -> pd.Series:
    patients = index.groupby("patient")["label"].agg(lambda labels: labels.mode().iloc[0])
    sizes = index.groupby("patient").size()
    assigned: dict[str, str] = {}
    for number, label in enumerate(sorted(patients.unique())):
        members = np.array(sorted(patients.index[patients == label]))
        members = members[np.random.default_rng([seed, number]).permutation(len(members))]
        if len(members) < 3:
            raise StudyError(
                f"Class {label} has {len(members)} patient(s); expected at least three, one for each of "
                "train, validation and test."
            )
        total = int(sizes[members].sum())
        position = 0
        # Test first, then validation; each takes patients until its share is reached, leaving enough for the rest.
        for name, share, left in (("test", test_share, 2), ("validation", validation_share, 1)):
            taken = 0
            while position < len(members) - left and (taken == 0 or taken + sizes[members[position]] / 2 <= share * total):
                assigned[members[position]] = name
                taken += int(sizes[members[position]])
                position += 1
        assigned.update(dict.fromkeys(members[position:], "train"))
    return index["patient"].map(assigned)
