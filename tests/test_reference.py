"""Reference results: numbers and their origin go into the repository, slices and paths do not."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from small_study import SIZE, write_small_study

from xai import reference
from xai.data.dataset import dataset_hash
from xai.paths import Study, StudyError, write_text
from xai.profiles import Profile, save_profile
from xai.tables import save_table

PROFILE = Profile(
    seed=4, data={"source": "folder", "root": "/secret/place", "image_size": SIZE, "test_fold": 4, "validation_fold": 3},
    training={"architectures": ["vgg16"], "encoder_weights": "/secret/encoder.weights.h5", "epochs": 7,
              "start_from": "/secret/former.weights.h5"},
)  # fmt: skip


@pytest.fixture
def study(tmp_path) -> Study:
    study = write_small_study(tmp_path / "mine")
    save_profile(PROFILE, study.profile)
    for name in ("classification", "report_scores"):
        save_table(study, name, pd.DataFrame({"architecture": ["vgg16", "resnet50"], "accuracy": [0.5, 0.75]}))
    write_text(study.history("vgg16"), "epoch,loss\n1,2.5\n")
    write_text(study.seconds("vgg16"), json.dumps({"training": 5400.0, "epochs": 7, "best_epoch": 6, "threads": "1", "parameters": 3}))
    return study


def test_tables_and_their_origin_are_kept(study, tmp_path, capsys):
    target = tmp_path / "results" / "real"
    write_text(target / "overlap.csv", "of an earlier run\n")
    assert reference.main(["--study", str(study.root), "--to", str(target)]) == 0
    assert "1 tables of mine" in capsys.readouterr().out
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [
        "classification.csv", "histories/vgg16.csv", "provenance.json"], "no table by slice, none of an earlier run"
    assert (target / "classification.csv").read_bytes() == study.table("classification").read_bytes()
    record = json.loads((target / "provenance.json").read_text())
    assert record["data_sha256"] == dataset_hash(study) and record["source"] == ["small"]
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", record["commit"])
    assert record["training"] == {"vgg16": {"training": 5400.0, "epochs": 7, "best_epoch": 6, "threads": "1"}}
    assert record["profile"]["seed"] == 4 and record["profile"]["training"]["encoder_weights"] == "encoder.weights.h5"
    assert {"keras", "numpy"} <= set(record["packages"])
    assert "secret" not in (target / "provenance.json").read_text(), "paths of a machine say nothing to anyone else"


def test_other_variants_of_the_ablation_are_told_apart(study, tmp_path):
    ablated = PROFILE.model_copy(update={"training": PROFILE.training.model_copy(update={"ablation": ("vgg16",)})})
    write_text(study.history("vgg16", "classification_only"), "epoch,loss\n1,1.5\n")
    write_text(study.seconds("vgg16", "classification_only"), json.dumps({"training": 60.0, "epochs": 2, "best_epoch": 1, "threads": "2", "parameters": 3}))
    reference.export(study, ablated, tmp_path / "real")
    assert (tmp_path / "real" / "histories" / "vgg16-classification_only.csv").read_text() == "epoch,loss\n1,1.5\n"
    assert reference.provenance(study, ablated)["training"]["vgg16-classification_only"] == {"training": 60.0, "epochs": 2, "best_epoch": 1, "threads": "2"}
    assert list(reference.provenance(study, PROFILE)["training"]) == ["vgg16"]


def test_a_study_without_tables_is_one_sentence(tmp_path, capsys):
    study = Study(tmp_path / "empty")
    save_profile(PROFILE, study.profile)
    assert reference.main(["--study", str(study.root), "--to", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "results").exists()
    with pytest.raises(StudyError, match="07_evaluation"):
        reference.export(study, PROFILE, tmp_path / "results")


def test_references_are_read_back(study, tmp_path):
    reference.export(study, PROFILE, tmp_path / "results" / "real")
    records = reference.references(tmp_path / "results")
    assert list(records) == ["real"]
    words = reference.in_words(records["real"])
    for part in ("fold 4", "fold 3", f"{SIZE} px", "1.5 hours", "encoder.weights.h5, going on from former.weights.h5, seed", "at most 7 epochs", "1 network, ", "small slices"):
        assert part in words, part
    records["real"]["profile"]["training"]["test_time_augmentation"] = True
    assert "averaged over seven views" in reference.in_words(records["real"]) and "averaged" not in words
    table = reference.reference_table("real", "classification", tmp_path / "results")
    assert table["accuracy"].tolist() == [0.5, 0.75]
    assert reference.reference_table("real", "overlap", tmp_path / "results") is None
    ((words, (table,)),) = reference.beside("classification", folder=tmp_path / "results")
    assert "Reference real, not this run." in words and table["accuracy"].tolist() == [0.5, 0.75]
    assert not list(reference.beside("classification", "overlap", folder=tmp_path / "results"))


def test_scores_join_both_heads_best_first():
    classes = pd.DataFrame({"architecture": ["a", "b"], **{f"{m}{e}": [0.5, 0.75] for m in ("accuracy", "f1", "auc") for e in ("", "_low", "_high")}})
    heads = pd.DataFrame({"architecture": ["a", "b"], "dice": [0.25, 0.125], "dice_low": [0.2, 0.1], "dice_high": [0.3, 0.2], "iou": [0, 0]})
    table = reference.scores(classes, heads)
    assert table["architecture"].tolist() == ["b", "a"] and table["dice"].tolist() == [0.125, 0.25] and "iou" not in table
