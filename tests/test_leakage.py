"""The leakage demonstration: which slice goes where, what is linked, what is trained, and the gap by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import one_sentence, prepare_small
from hypothesis import given, settings
from hypothesis import strategies as st

from xai import leakage, scores
from xai.data import Dataset, dataset_table
from xai.leakage import (
    CONDITIONS, company_table, condition_splits, condition_study, evaluation_rows, leakage_gap, leakage_table, prepare_condition, run_leakage,
)  # fmt: skip
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile

ARCHITECTURE = "vgg16"
SLICES = {
    "glioma-1": 3, "glioma-2": 2, "meningioma-1": 4, "pituitary-1": 3, "glioma-3": 1, "meningioma-2": 1, "pituitary-2": 1,
    "glioma-4": 4, "meningioma-3": 1, "pituitary-3": 3, "glioma-5": 5,
}  # fmt: skip
SPLITS = dict.fromkeys(list(SLICES)[:4], "train") | dict.fromkeys(list(SLICES)[4:7], "validation") | dict.fromkeys(list(SLICES)[7:], "test")


def profile_with(*, seed: int = 3, architecture: str | None = ARCHITECTURE, seeds: int = 1, epochs: int | None = 1) -> Profile:
    return Profile(
        seed=seed, data={"image_size": 32}, evaluation={"bootstrap": 200},
        training={
            "architectures": [ARCHITECTURE], "epochs": 3, "batch_size": 12, "learning_rate": 3e-4, "augment": False, "run_eagerly": True,
            "leakage": {"architecture": architecture, "seeds": seeds, "epochs": epochs},
        },
    )  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return prepare_small(tmp_path / "study", SLICES, SPLITS, size=32)


@st.composite
def indices(draw) -> pd.DataFrame:
    """Any index with slices in train and test, in any order of rows."""
    rows = []
    for number in range(draw(st.integers(2, 12))):
        split = draw(st.sampled_from(["train", "validation", "test"])) if number > 1 else ("train", "test")[number]
        label = draw(st.sampled_from(LABELS))
        rows += [(f"P{number}", label, split)] * draw(st.integers(1, 7))
    index = pd.DataFrame(rows, columns=["patient", "label", "split"])
    return index.iloc[draw(st.permutations(range(len(index))))].reset_index(drop=True)


@settings(deadline=None)
@given(index=indices(), seed=st.integers(0, 1000), draw_seed=st.integers(0, 1000))
def test_only_the_company_differs(index, seed, draw_seed):
    evaluation = evaluation_rows(index, seed=seed)
    by_patient, by_slice = (condition_splits(index, condition, evaluation=evaluation, seed=draw_seed) for condition in CONDITIONS)
    # The evaluation slices: of test patients alone, half of each, at least one.
    test_patients = index[index["split"] == "test"].groupby("patient").size()
    assert index.iloc[evaluation]["patient"].value_counts().to_dict() == {name: -(-size // 2) for name, size in test_patients.items()}
    for splits in (by_patient, by_slice):
        assert list(np.flatnonzero(splits == "test")) == list(evaluation), "judged on the same slices, none of which trains"
        assert ((splits == "validation") == (index["split"] == "validation")).all()
        assert set(splits) <= {"train", "validation", "test", "unused"}
    # By patient: the training slices of the study, hence no sibling of an evaluation slice.
    assert ((by_patient == "train") == (index["split"] == "train")).all()
    assert not set(index["patient"][by_patient == "train"]) & set(index["patient"].iloc[evaluation])
    # By slice: as many of each class, from training patients and siblings, none of the validation.
    counts = [index["label"][splits == "train"].value_counts().to_dict() for splits in (by_patient, by_slice)]
    assert counts[0] == counts[1]
    assert set(index["split"][by_slice == "train"]) <= {"train", "test"}
    assert np.array_equal(condition_splits(index, "by_slice", evaluation=evaluation, seed=draw_seed), by_slice)


def test_siblings_get_the_share_of_a_random_deal():
    """300 training slices and 100 siblings in the pool, of which 300 are drawn: three in four of either, within chance."""
    rows = [(f"train{n % 60}", "glioma", "train") for n in range(300)] + [(f"test{n % 20}", "glioma", "test") for n in range(200)]
    index = pd.DataFrame(rows, columns=["patient", "label", "split"])
    evaluation = evaluation_rows(index, seed=0)
    siblings = index["split"].eq("test").to_numpy() & ~index.index.isin(evaluation)
    assert siblings.sum() == 100 == len(evaluation)
    shares = [(condition_splits(index, "by_slice", evaluation=evaluation, seed=seed) == "train")[siblings].mean() for seed in range(40)]
    assert np.mean(shares) == pytest.approx(0.75, abs=0.02)  # standard error of the mean: 0.003
    assert len(set(shares)) > 5, "every seed draws anew"


def test_evaluation_is_drawn_by_the_seed_and_not_by_the_order_of_patients():
    index = pd.DataFrame({"patient": ["B"] * 6 + ["A"] * 6, "label": "glioma", "split": "test"})
    first = evaluation_rows(index, seed=1)
    swapped = evaluation_rows(index.iloc[[*range(6, 12), *range(6)]].reset_index(drop=True), seed=1)
    assert sorted((swapped + 6) % 12) == list(first)
    assert len({tuple(evaluation_rows(index, seed=seed)) for seed in range(20)}) > 10


# The small studies


def test_a_condition_links_the_arrays_and_changes_the_splits_alone(study):
    profile = profile_with()
    target = prepare_condition(study, profile, "by_slice", 3)
    assert target.root == study.root / "leakage" / "by_slice_3" == condition_study(study, "by_slice", 3).root
    assert os.path.samefile(target.images, study.images) and os.path.samefile(target.masks, study.masks)
    theirs, ours = (pd.read_csv(s.index, dtype=str, keep_default_na=False) for s in (study, target))
    pd.testing.assert_frame_equal(ours.drop(columns="split"), theirs.drop(columns="split"))
    assert list(ours["split"]) == list(condition_splits(theirs, "by_slice", evaluation=evaluation_rows(theirs, seed=3), seed=3))
    # Nothing breaks on slices that are in no split.
    dataset = Dataset(target)
    assert (dataset.index["split"] == "unused").any() and len(dataset.balanced_rows("test", 2)) == 2
    assert dataset_table(dataset.index)["slices"].iloc[-1] == sum(SLICES.values())
    rows = np.concatenate([dataset.rows(split) for split in ("train", "validation", "test")])
    assert len(rows) == len(set(rows)) == (dataset.index["split"] != "unused").sum()


def test_preparing_again_touches_nothing(study):
    target = prepare_condition(study, profile_with(), "by_slice", 3)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.data.iterdir()}
    prepare_condition(study, profile_with(), "by_slice", 3)
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.data.iterdir()} and len(before) == 3


@pytest.mark.parametrize("links", [True, False])
def test_data_prepared_anew_reach_the_condition(study, monkeypatch, links):
    """The study's arrays are replaced, never written to; a link then holds the old ones, and so does a copy."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    target = prepare_condition(study, profile_with(), "by_patient", 3)
    assert os.path.samefile(target.images, study.images) is links
    assert np.array_equal(np.load(target.images), np.load(study.images))
    again = {path: path.stat().st_mtime_ns for path in (target.images, target.masks)}
    prepare_condition(study, profile_with(), "by_patient", 3)
    assert again == {path: path.stat().st_mtime_ns for path in again}
    np.save(study.root / "new.npy", 255 - np.load(study.images))
    os.replace(study.root / "new.npy", study.images)
    prepare_condition(study, profile_with(), "by_patient", 3)
    assert np.array_equal(np.load(target.images), np.load(study.images))


# Training


def test_training_both_ways(study):
    """Both networks are trained and predict the same slices; a second run repeats nothing, and the tables agree with the files."""
    profile = profile_with()
    run_leakage(study, profile)
    targets = [condition_study(study, condition, 3) for condition in CONDITIONS]
    made = [path for target in targets for path in (target.weights(ARCHITECTURE), target.predictions(ARCHITECTURE), target.test_masks(ARCHITECTURE))]
    before = {path: path.stat().st_mtime_ns for path in made}
    run_leakage(study, profile)
    assert before == {path: path.stat().st_mtime_ns for path in made}
    predictions = [pd.read_csv(target.predictions(ARCHITECTURE)) for target in targets]
    index = pd.read_csv(study.index)
    expected = list(index["id"].iloc[evaluation_rows(index, seed=3)])
    assert [list(table["id"]) for table in predictions] == [expected, expected]
    assert [len(pd.read_csv(target.history(ARCHITECTURE))) for target in targets] == [1, 1], "the demonstration's own number of epochs"
    assert not np.allclose(predictions[0]["prob_glioma"], predictions[1]["prob_glioma"]), "the two learned from different slices"

    table = leakage_table(study, profile)
    assert table[["condition", "seed", "slices", "patients"]].to_numpy().tolist() == [[c, "3", 8, 4] for c in CONDITIONS]
    for row, target, found in zip(table.to_dict("records"), targets, predictions):
        answers = found[[f"prob_{label}" for label in LABELS]].to_numpy().argmax(axis=1)
        assert row["accuracy"] == pytest.approx(np.mean([LABELS[answer] == label for answer, label in zip(answers, found["label"])]))
        truth = np.load(study.masks)[evaluation_rows(index, seed=3)] > 0
        drawn = np.load(target.test_masks(ARCHITECTURE)) > 0.5
        by_hand = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(drawn, truth)]
        assert row["dice"] == pytest.approx(np.mean(by_hand))
        assert row["dice_low"] <= row["dice"] <= row["dice_high"] and row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    # A network trained anew, here one whose weights are younger, would be predicted anew.
    assert scores.predicted(targets[0], ARCHITECTURE)
    os.utime(targets[0].weights(ARCHITECTURE))
    assert not scores.predicted(targets[0], ARCHITECTURE)
    shutil.rmtree(study.root / "leakage")


# Scores by hand


@pytest.fixture
def predicted(study) -> tuple[Study, Profile]:
    """Both conditions under two seeds, with answers planted: by patient 4 then 2 of 8 are right, by slice 8 then 6."""
    profile = profile_with(seeds=2)
    for condition, seed, right in (("by_patient", 3, 4), ("by_slice", 3, 8), ("by_patient", 4, 2), ("by_slice", 4, 6)):
        target = prepare_condition(study, profile, condition, seed)
        dataset = Dataset(target)
        rows = dataset.rows("test")
        table = dataset.index.loc[rows, ["id", "label", "patient", "plane"]]
        for label in LABELS:
            told = np.where(np.arange(8) < right, table["label"] == label, table["label"] != label)
            table[f"prob_{label}"] = np.where(told, 0.6, 0.1)
        target.model(ARCHITECTURE).mkdir(parents=True)
        table.to_csv(target.predictions(ARCHITECTURE), index=False)
        masks = np.array(dataset.masks[rows], np.float16)
        if condition == "by_patient":
            masks[:4] = 0  # half of the tumours are missed
        np.save(target.test_masks(ARCHITECTURE), masks)
    return study, profile


def test_the_gap_by_hand(predicted):
    table = leakage_table(*predicted)
    assert table[["condition", "seed"]].to_numpy().tolist() == [["by_patient", "3"], ["by_slice", "3"], ["by_patient", "4"], ["by_slice", "4"]]
    assert table["accuracy"].tolist() == [0.5, 1, 0.25, 0.75] and table["dice"].tolist() == [0.5, 1, 0.5, 1]
    gap = leakage_gap(*predicted).set_index("measure")
    assert gap.loc["accuracy", ["by_patient", "by_slice", "gap"]].tolist() == [0.375, 0.875, 0.5]
    assert gap.loc["dice", ["by_patient", "by_slice", "gap"]].tolist() == [0.5, 1, 0.5]


def test_the_interval_of_the_gap_resamples_patients(predicted):
    """All 4^4 resamples of four patients, listed: the exact distribution of the mean gap."""
    study, profile = predicted
    index = pd.read_csv(condition_study(study, "by_slice", 3).index, dtype=str)
    patients = index["patient"][index["split"] == "test"].to_numpy()
    # By slice minus by patient, averaged over seeds: right in 2 of 2 seeds against ...
    gain = (np.arange(8) < 8) / 2 + (np.arange(8) < 6) / 2 - (np.arange(8) < 4) / 2 - (np.arange(8) < 2) / 2
    names = sorted(set(patients))
    sums, sizes = ({name: f[patients == name].sum() for name in names} for f in (gain, np.ones(8)))
    draws = np.array(np.meshgrid(*[names] * 4)).reshape(4, -1).T
    means = [sum(sums[name] for name in draw) / sum(sizes[name] for name in draw) for draw in draws]
    many = profile.model_copy(update={"evaluation": profile.evaluation.model_copy(update={"bootstrap": 20_000})})
    found = leakage_gap(study, many).set_index("measure").loc["accuracy"]
    assert (found["gap_low"], found["gap_high"]) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.03)
    assert found["gap_low"] < found["gap"] < found["gap_high"]


def test_who_is_in_training_with_whom(predicted):
    table = company_table(*predicted)
    assert list(table["training slices"]) == [12] * 4 and list(table["evaluation slices"]) == [8] * 4 and list(table["patients"]) == [4] * 4
    by_patient, by_slice = (table[table["condition"] == condition] for condition in CONDITIONS)
    assert (by_patient["of evaluation patients"] == 0).all() and (by_patient["with a sibling in training %"] == 0).all()
    study, profile = predicted
    for row in by_slice.itertuples(index=False):
        index = pd.read_csv(condition_study(study, "by_slice", int(row.seed)).index)
        train, test = (index[index["split"] == split] for split in ("train", "test"))
        assert row[3] == sum(patient in set(test["patient"]) for patient in train["patient"]) > 0
        assert row[6] == pytest.approx(100 * sum(patient in set(train["patient"]) for patient in test["patient"]) / 8)


# What can go wrong


def test_switched_off_says_how_to_switch_it_on(study):
    for run in (run_leakage, leakage_table, leakage_gap):
        with pytest.raises(StudyError) as caught:
            run(study, profile_with(architecture=None))
        assert "training.leakage.architecture" in one_sentence(str(caught.value))


def test_patients_with_one_slice_each_leak_nothing(tmp_path):
    slices = {f"{label}-{number}": 1 for label in LABELS for number in range(3)}
    study = prepare_small(tmp_path, slices, {name: ("train", "validation", "test")[int(name[-1])] for name in slices}, size=32)
    with pytest.raises(StudyError) as caught:
        run_leakage(study, profile_with())
    assert "one slice each" in one_sentence(str(caught.value)) and not (study.root / "leakage").exists()


def test_tables_before_the_training_name_the_chapter(study):
    prepare_condition(study, profile_with(), "by_patient", 3)
    with pytest.raises(StudyError, match="02_leakage"):
        leakage_table(study, profile_with())
    with pytest.raises(StudyError, match="01_data"):
        run_leakage(Study(study.root / "nowhere"), profile_with())


def test_epochs_default_to_those_of_the_training():
    assert leakage._own_profile(profile_with(epochs=None), 9).training.epochs == 3
    own = leakage._own_profile(profile_with(epochs=2), 9)
    assert (own.training.epochs, own.seed) == (2, 9)
