"""The learning curve: nested shares of patients, as many steps each, the same test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import one_sentence, prepare_small

from xai import learning_curve
from xai.data.dataset import Dataset
from xai.metrics.overlap import dice
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile

SERIES = {f"{label}-{number}": 1 + number % 3 for label in LABELS for number in range(8)}
PROFILE = Profile(
    seed=9, data={"image_size": 40}, evaluation={"bootstrap": 50}, training={
        "architectures": ["vgg16"], "epochs": 2, "batch_size": 16, "learning_rate": 1e-4, "augment": False, "run_eagerly": True, "patience": 2,
        "curve": {"architecture": "vgg16", "shares": [0.5, 0.2]},
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Six training patients of each class, one validates, one tests."""
    return prepare_small(tmp_path_factory.mktemp("curve") / "study", SERIES,
                         lambda index: [{"6": "validation", "7": "test"}.get(name[-1], "train") for name in index["patient"]])  # fmt: skip


def test_shares_ascend_and_end_with_the_whole():
    assert learning_curve.shares_of(PROFILE) == [0.2, 0.5, 1.0]


def test_shares_are_nested_balanced_and_of_training_patients(study):
    index = Dataset(study).index
    chosen = [learning_curve.patients_of_share(index, share, seed=9) for share in (0.01, 0.2, 0.5, 1.0)]
    assert [len(names) for names in chosen] == [3, 6, 9, 18], "rounded up in each class"
    for smaller, larger in zip(chosen, chosen[1:]):
        assert set(smaller) < set(larger)
    for names in chosen:
        assert pd.Series(names).str.split("-").str[0].value_counts().nunique() == 1
        assert set(index[index["patient"].isin(names)]["split"]) == {"train"}
    assert learning_curve.patients_of_share(index.sample(frac=1, random_state=1), 0.5, seed=9) == chosen[2]
    assert learning_curve.patients_of_share(index, 0.5, seed=10) != chosen[2]


def test_a_share_trains_as_many_steps_on_fewer_patients(study):
    target, own = learning_curve.prepare_share(study, PROFILE, 0.5)
    index, whole = Dataset(target).index, Dataset(study).index
    kept = index["split"] == "train"
    assert set(index.loc[kept, "patient"]) == set(learning_curve.patients_of_share(whole, 0.5, seed=9))
    assert (index["split"][~kept & (whole["split"] == "train")] == "unused").all()
    for split in ("validation", "test"):
        assert ((index["split"] == split) == (whole["split"] == split)).all()
    ratio = (whole["split"] == "train").sum() / kept.sum()
    assert own.training.epochs == round(2 * ratio) > 2 and own.training.patience == round(2 * own.training.epochs / 2)
    assert target.images.samefile(study.images)
    assert learning_curve.prepare_share(study, PROFILE, 1.0) == (study, PROFILE)


def test_the_curve_is_computed_once_and_scored_on_the_test(study):
    learning_curve.run_curve(study, PROFILE)
    table = learning_curve.curve_table(study, PROFILE)
    assert table["share"].tolist() == [0.2, 0.5, 1.0] and table["patients"].tolist() == [6, 9, 18]
    assert table["slices"].is_monotonic_increasing and table["epochs"].is_monotonic_decreasing
    target, _ = learning_curve.prepare_share(study, PROFILE, 0.2)
    dataset = Dataset(target)
    rows = dataset.rows("test")
    found = np.load(target.test_masks("vgg16")) > 0.5
    assert table["dice"][0] == pytest.approx(dice(found, np.asarray(dataset.masks[rows]) > 0).mean())
    predictions = pd.read_csv(target.predictions("vgg16"))
    best = predictions[[f"prob_{label}" for label in LABELS]].idxmax(axis=1).str.removeprefix("prob_")
    assert table["accuracy"][0] == pytest.approx((best == predictions["label"]).mean())
    stamps = {path: path.stat().st_mtime_ns for path in study.root.rglob("*.h5")} | {path: path.stat().st_mtime_ns for path in study.root.rglob("predictions.csv")}
    learning_curve.run_curve(study, PROFILE)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_curve_that_is_off_is_one_sentence(study):
    with pytest.raises(StudyError) as problem:
        learning_curve.run_curve(study, Profile())
    assert "training.curve.architecture" in one_sentence(str(problem.value))
