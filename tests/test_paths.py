"""Writing whole files or none, and where the files of a study lie."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import one_sentence

from xai.paths import Study, StudyError, atomic, write_text


def test_atomic_replaces_the_file_only_at_the_end(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent and temporary.suffix == ".csv"
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.EIO, "bad sector")])
def test_atomic_keeps_the_old_file_when_the_writer_fails(tmp_path, error):
    path = tmp_path / "model.weights.h5"
    write_text(path, "old")
    with pytest.raises(type(error)) as raised, atomic(path) as temporary:
        assert temporary.name.endswith(".weights.h5"), "Keras takes the format from both suffixes"
        temporary.write_text("half")
        raise error
    assert raised.value is error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["model.weights.h5"]


def test_atomic_leaves_nothing_where_there_was_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "new.json") as temporary:
        temporary.write_text("half")
        1 / 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_as_readable_as_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        assert os.umask(before) == umask, "the umask of the process must not change"
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def _write_h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(2**20)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"x" * 2**21),
        lambda path: np.save(path, np.zeros(2**21, np.uint8)),  # reports a short write without an error number
        lambda path: pd.DataFrame({"number": np.arange(2**18)}).to_csv(path),
        _write_h5,
    ],
    ids=["bytes", "numpy", "pandas", "h5py"],
)
def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(tiny_disk, write):
    path = tiny_disk / "array.npy"
    path.write_text("old")
    with pytest.raises(StudyError) as raised, atomic(path) as temporary:
        write(temporary)
    message = one_sentence(str(raised.value))
    assert "disk" in message and str(path) in message and "free some space" in message
    assert path.read_text() == "old" and os.listdir(tiny_disk) == ["array.npy"]
    # The space is given back at once: the next, smaller file fits.
    write_text(tiny_disk / "small.csv", "x" * 2**19)


def test_a_disk_without_room_for_another_file_is_the_same_sentence(tiny_disk):
    with pytest.raises(OSError), (tiny_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    with pytest.raises(StudyError, match="disk filled up"):
        write_text(tiny_disk / "new" / "profile.yaml", "seed: 1\n" * 100)
    assert [p for p in tiny_disk.rglob("*") if p.is_file()] == [tiny_disk / "filler"]


def test_every_place_is_the_one_the_contract_names(tmp_path):
    study = Study(tmp_path / "mine")
    expected = {
        study.profile: "profile.yaml",
        study.images: "data/images.npy",
        study.masks: "data/masks.npy",
        study.mni: "data/mni.npy",
        study.index: "data/index.csv",
        study.model("vgg16"): "models/vgg16",
        study.model("vgg16", "segmentation_only"): "models/vgg16-segmentation_only",
        study.weights("vgg16"): "models/vgg16/model.weights.h5",
        study.history("vgg16"): "models/vgg16/history.csv",
        study.predictions("vgg16"): "models/vgg16/predictions.csv",
        study.predictions("vgg16", "classification_only"): "models/vgg16-classification_only/predictions.csv",
        study.seconds("vgg16"): "models/vgg16/seconds.json",
        study.test_masks("vgg16"): "models/vgg16/test_masks.npy",
        study.heatmaps("vgg16", "gradcam"): "saliency/vgg16/gradcam.npy",
        study.saliency_table("vgg16", "sanity"): "saliency/vgg16/sanity.csv",
        study.cam_masks("vgg16", "gradcam"): "masks/vgg16/gradcam.npy",
        study.findings("a.b"): "findings/a.b.json",
        study.reports("llama"): "reports/llama.jsonl",
        study.table("dataset"): "tables/dataset.csv",
        study.figure("roc"): "figures/roc.svg",
        study.figure("samples", "png"): "figures/samples.png",
        study.notebook("01_data"): "notebooks/01_data.ipynb",
    }
    assert {path.relative_to(tmp_path / "mine").as_posix() for path in expected} == set(expected.values())
    for path, place in expected.items():
        assert path == tmp_path / "mine" / place
    assert study.name == "mine"
    assert not (tmp_path / "mine").exists(), "naming a place must not create it"


def test_need_names_the_chapter_that_makes_a_missing_file(tmp_path):
    study = Study(tmp_path / "mine")
    with pytest.raises(StudyError) as raised:
        study.need(study.index, "01_data")
    message = one_sentence(str(raised.value))
    assert str(study.index) in message and "01_data" in message and "STUDY=mine" in message
    write_text(study.index, "id\n")
    assert study.need(study.index, "01_data") == study.index
