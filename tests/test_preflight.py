"""The check before anything expensive, called as `make book` calls it."""

from __future__ import annotations

import os

import pytest
import yaml
from conftest import REPOSITORY, one_sentence

from xai.preflight import main


def _run(capsys, *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err


def test_a_good_profile_becomes_the_studys(tmp_path, capsys):
    profile = REPOSITORY / "profiles" / "smoke.yaml"
    # `make` passes SOURCE and ROOT as empty words where they are not set.
    arguments = ("--profile", profile, "--study", tmp_path / "study", "--source", "", "--root", "")
    assert _run(capsys, *arguments) == (0, "")
    written = tmp_path / "study" / "profile.yaml"
    assert [path for path in (tmp_path / "study").rglob("*")] == [written]
    content = yaml.safe_load(written.read_text())
    assert content["seed"] == 7 and content["data"]["source"] == "phantom" and content["saliency"]["methods"][0] == "gradcam"
    os.utime(written, ns=(1, 1))
    assert _run(capsys, *arguments) == (0, "")
    assert written.stat().st_mtime_ns == 1, "a second `make book` must find nothing to do"


def test_source_and_root_stand_over_the_profile(tmp_path, folder, capsys):
    arguments = ("--profile", REPOSITORY / "profiles" / "smoke.yaml", "--study", tmp_path / "study", "--source", "folder", "--root", folder)
    assert _run(capsys, *arguments) == (0, "")
    content = yaml.safe_load((tmp_path / "study" / "profile.yaml").read_text())
    assert content["data"]["source"] == "folder" and content["data"]["root"] == str(folder)


@pytest.mark.parametrize(
    ("arguments", "text", "part"),
    [
        (["--source", "kaggle"], "", "`data.source`"),
        (["--source", "folder"], "", "`data.root` is needed"),
        ([], "training: {architectures: [resnet18]}", "'resnet18'"),
        ([], "training: {epoch: 1}", "unknown key `training.epoch`"),
        ([], "data: {image_size: 40}", "xception needs `data.image_size` of at least 71, found 40"),
        ([], "data: [", "not valid YAML"),
        ([], "training: {encoder_weights: nowhere.weights.h5}", "`training.encoder_weights` is nowhere.weights.h5, which is no file"),
        ([], "training: {architectures: [vgg16], start_from: nowhere.weights.h5}", "`training.start_from` is nowhere.weights.h5, which is no file"),
        ([], "training: {start_from: a.weights.h5}", "`training.start_from` goes with one of `training.architectures` alone"),
        ([], "training: {architectures: [vgg16], shuffled: vgg16, start_from: a.weights.h5}", "whose networks must start anew"),
    ],
)
def test_a_mistake_leaves_no_study(tmp_path, capsys, arguments, text, part):
    (tmp_path / "own.yaml").write_text(text)
    code, printed = _run(capsys, "--profile", tmp_path / "own.yaml", "--study", tmp_path / "study", *arguments)
    assert code == 2 and printed.startswith("error: ") and part in one_sentence(printed.removesuffix("\n"))
    assert not (tmp_path / "study").exists()


def test_a_missing_profile(tmp_path, capsys):
    code, printed = _run(capsys, "--profile", REPOSITORY / "profiles" / "fast.yaml", "--study", tmp_path / "study")
    assert code == 2 and "fast.yaml not found" in one_sentence(printed.strip())


def test_a_mistake_keeps_the_studys_former_profile(tmp_path, capsys):
    good = ("--profile", REPOSITORY / "profiles" / "smoke.yaml", "--study", tmp_path / "study")
    assert _run(capsys, *good)[0] == 0
    before = (tmp_path / "study" / "profile.yaml").read_bytes()
    (tmp_path / "own.yaml").write_text("seed: -1")
    assert _run(capsys, "--profile", tmp_path / "own.yaml", "--study", tmp_path / "study")[0] == 2
    assert (tmp_path / "study" / "profile.yaml").read_bytes() == before


def test_a_full_disk(tiny_disk, capsys):
    with pytest.raises(OSError), (tiny_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    code, printed = _run(capsys, "--profile", REPOSITORY / "profiles" / "smoke.yaml", "--study", tiny_disk / "study")
    assert code == 2 and "disk filled up" in one_sentence(printed.strip())
    assert [path.name for path in tiny_disk.rglob("*") if path.is_file()] == ["filler"]
