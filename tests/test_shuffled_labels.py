"""The test with labels that mean nothing: what is shuffled and what is not, and what the scores are of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import one_sentence, prepare_small

from xai import shuffled_labels
from xai.data.dataset import Dataset
from xai.metrics.faithfulness import rank_similarity
from xai.metrics.overlap import pointing_game
from xai.paths import LABELS, Study, StudyError
from xai.profiles import Profile
from xai.saliency import Split, explain, methods_for
from xai.training import load

SERIES = {f"{label}-{number}": 1 + number % 3 for label in LABELS for number in range(8)}
PROFILE = Profile(
    seed=9, data={"image_size": 40}, evaluation={"bootstrap": 50}, saliency={"minimum_grid": 2, "test_slices": 3}, training={
        "architectures": ["vgg16"], "epochs": 1, "batch_size": 16, "learning_rate": 1e-4, "augment": False, "run_eagerly": True,
        "shuffled": "vgg16",
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return prepare_small(tmp_path_factory.mktemp("shuffled") / "study", SERIES,
                         lambda index: [{"6": "validation", "7": "test"}.get(name[-1], "train") for name in index["patient"]])  # fmt: skip


@pytest.fixture(scope="module")
def found(study) -> pd.DataFrame:
    shuffled_labels.run(study, PROFILE)
    return shuffled_labels.scores(study, PROFILE)


def test_only_training_labels_are_shuffled(study):
    target, own = shuffled_labels.prepare(study, PROFILE, "shuffled")
    ours, theirs = Dataset(target).index, Dataset(study).index
    assert own == PROFILE and target.images.samefile(study.images) and target.masks.samefile(study.masks)
    train = theirs["split"] == "train"
    pd.testing.assert_frame_equal(ours.drop(columns="label"), theirs.drop(columns="label"))
    assert (ours["label"] == theirs["label"])[~train].all()
    # As many of each class, and no more in their place than chance leaves: three classes of equal size.
    assert sorted(ours["label"][train]) == sorted(theirs["label"][train])
    assert 0.1 < (ours["label"] == theirs["label"])[train].mean() < 0.6
    again, other = shuffled_labels.prepare(study, PROFILE, "true again")
    assert other.seed == 10 and Dataset(again).index.equals(theirs)
    assert shuffled_labels.prepare(study, PROFILE, "true") == (study, PROFILE)


def test_every_training_explains_the_true_class_of_the_same_slices(study, found):
    assert list(found.groupby(["variant", "labels"], sort=False).size().items()) == [
        ((variant, labels), 3) for variant in shuffled_labels.VARIANTS for labels in shuffled_labels.LABELS_OF
    ]
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", 3)
    maps = []
    for labels in ("true", "shuffled"):
        target, own = shuffled_labels.prepare(study, PROFILE, labels)
        split = Split(load(target, own, "vgg16", variant="classification_only"), minimum_grid=2)
        images = np.asarray(dataset.images[rows], np.float32)
        [(_, part)] = explain(methods_for(split, ["gradcam"]), images, classes=dataset.labels(rows))
        maps.append(part["gradcam"])
    part = found[(found["variant"] == "classification_only") & (found["labels"] == "shuffled")]
    assert part["id"].tolist() == dataset.index["id"].iloc[rows].tolist()
    np.testing.assert_allclose(part["similarity"], np.nan_to_num(rank_similarity(*maps)), atol=1e-6)
    np.testing.assert_allclose(part["pointing"], pointing_game(maps[1], np.asarray(dataset.masks[rows])))


def test_summary_holds_means_and_no_likeness_of_a_network_to_itself(found):
    table = shuffled_labels.summary(found, PROFILE)
    assert len(table) == 6 and table["similarity"].isna().tolist() == [True, False, False] * 2
    part = found[(found["variant"] == "hybrid") & (found["labels"] == "true again")]
    row = table[(table["variant"] == "hybrid") & (table["labels"] == "true again")].iloc[0]
    assert row["similarity"] == pytest.approx(part["similarity"].mean()) and row["pointing_low"] <= row["pointing"] <= row["pointing_high"]


def test_nothing_is_trained_twice(study, found):
    stamps = {path: path.stat().st_mtime_ns for path in study.root.rglob("*") if path.suffix in (".h5", ".csv", ".npy")}
    shuffled_labels.run(study, PROFILE)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_test_that_is_off_is_one_sentence(study):
    with pytest.raises(StudyError) as problem:
        shuffled_labels.run(study, Profile())
    assert "training.shuffled" in one_sentence(str(problem.value))
