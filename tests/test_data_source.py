"""From a profile to a dataset: every source through the same two commands, and the checks before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from conftest import one_sentence
from test_data_brisc import write_brisc
from test_data_figshare import ZIPS, edit_zip, mat, write_cvind, write_zip

from xai.data import Dataset, check_source, prepare_source
from xai.paths import Study, StudyError
from xai.preflight import main as preflight
from xai.profiles import load_profile, study_profile


PATIENTS = [(f"1{number:05d}", 1 + number % 3) for number in range(9)]  # three of each class, two slices each


@pytest.fixture
def figshare_root(tmp_path):
    """Eighteen slices in the published files."""
    folder = tmp_path / "figshare"
    folder.mkdir()
    numbers = np.array_split(np.arange(1, 19), len(ZIPS))
    for name, part in zip(ZIPS, numbers):
        members = {}
        for number in part:
            patient, label = PATIENTS[(number - 1) // 2]
            members[f"{number}.mat"] = mat(1 + number % 12, PID=patient, label=label)
        write_zip(folder / name, members)
    write_cvind(folder / "cvind.mat", [1 + (number - 1) // 6 for number in range(1, 19)])
    return folder


def _profile(tmp_path, **data):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"data": {"image_size": 32, **data}, "training": {"architectures": ["vgg16"]}}))
    return path


def _prepared(tmp_path, source: str, root, **data) -> Dataset:
    """The dataset of a source, made as `make book` makes it."""
    study = Study(tmp_path / "study")
    path = _profile(tmp_path, **data)
    assert preflight(["--profile", str(path), "--study", str(study.root), "--source", source, "--root", str(root)]) == 0
    prepare_source(study, study_profile(study.profile))
    return Dataset(study)


def test_figshare_becomes_a_dataset(tmp_path, figshare_root):
    dataset = _prepared(tmp_path, "figshare", figshare_root, validation_fold=3, test_fold=2)
    assert dataset.index.groupby("split")["fold"].agg(set).to_dict() == {"train": {1}, "validation": {3}, "test": {2}}
    assert set(dataset.index["source"]) == {"figshare"} and set(dataset.index["plane"]) == {"unknown"}
    assert (dataset.index.groupby("patient")["split"].nunique() == 1).all() and set(dataset.index["split"]) == {"train", "validation", "test"}
    assert dataset.images.shape[1:] == (32, 32) and (np.asarray(dataset.masks).reshape(len(dataset.masks), -1).sum(axis=1) > 0).all()


def test_brisc_becomes_a_dataset(tmp_path):
    dataset = _prepared(tmp_path, "brisc", write_brisc(tmp_path / "brisc"), validation_share=0.3, test_share=0.3)
    assert set(dataset.index["source"]) == {"brisc"} and set(dataset.index["plane"]) <= {"axial", "coronal", "sagittal"}
    assert (dataset.index.groupby("patient")["split"].nunique() == 1).all()


def test_bad_slices_stop_the_run_or_are_left_out_and_named(tmp_path, figshare_root, capsys):
    edit_zip(next(iter(sorted(figshare_root.glob("*.zip")))), n1=b"nothing of the kind")
    path = _profile(tmp_path, validation_share=0.3, test_share=0.3)
    arguments = ["--study", str(tmp_path / "study"), "--source", "figshare", "--root", str(figshare_root)]
    assert preflight(["--profile", str(path), *arguments]) == 2
    [sentence] = _words(capsys)
    assert "1.mat" in one_sentence(sentence) and sentence.startswith("error: ")
    assert not (tmp_path / "study" / "profile.yaml").exists()
    _profile(tmp_path, validation_share=0.3, test_share=0.3, skip_bad=True)
    assert preflight(["--profile", str(path), *arguments]) == 0
    assert any(line.startswith("left out: ") and "1.mat" in line for line in _words(capsys))


@pytest.mark.parametrize(("data", "words"), [
    ({"source": "figshare"}, ["`data.root`", "SOURCE=figshare"]),
    ({"source": "brisc"}, ["`data.root`", "SOURCE=brisc"]),
    ({"source": "folder", "root": "x", "base_url": "published"}, ["`data.base_url`", "figshare", "folder"]),
])  # fmt: skip
def test_what_a_source_needs_is_said_before_anything_runs(tmp_path, data, words):
    with pytest.raises(StudyError) as problem:
        load_profile(_profile(tmp_path, **data))
    assert all(word in str(problem.value) for word in words)


def test_a_base_address_is_downloaded_from(tmp_path, figshare_root):
    """A mirror that serves the files by their names; here one that does not answer, which is one sentence."""
    profile = load_profile(_profile(tmp_path, source="figshare", root=str(tmp_path / "new"), base_url="http://127.0.0.1:9/"))
    with pytest.raises(StudyError, match="127.0.0.1:9"):
        check_source(profile)


def test_the_phantom_needs_no_check(tmp_path):
    assert check_source(load_profile(_profile(tmp_path, source="phantom"))) is None


def _words(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.strip() and "slices:" not in line]
