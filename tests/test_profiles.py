"""Profiles: the shipped ones are valid, and every mistake is one sentence that names its key."""

from __future__ import annotations

import os

import pytest
import yaml
from conftest import REPOSITORY, one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.paths import StudyError
from xai.profiles import NINE, SMALLEST_INPUT, Profile, load_profile, save_profile, study_profile

SHIPPED = REPOSITORY / "profiles"


def _load(tmp_path, text: str | bytes, **data) -> Profile:
    path = tmp_path / "own.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_profile(path, **data)


@pytest.mark.parametrize(("name", "size", "source"), [("smoke", 75, "phantom"), ("quick", 80, "phantom"), ("cpu", 96, "folder"), ("paper", 224, "folder")])
def test_shipped_profiles_load(name, size, source):
    profile = load_profile(SHIPPED / f"{name}.yaml", root="data" if source == "folder" else None)
    assert (profile.data.image_size, profile.data.source) == (size, source)
    assert profile.training.architectures == NINE and len(NINE) == 9
    written = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())
    assert profile.training.learning_rate == written["training"]["learning_rate"]
    assert profile.evaluation.bootstrap == written["evaluation"]["bootstrap"]


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_a_profile_of_real_data_asks_for_its_folder(name):
    with pytest.raises(StudyError, match="`data.root` is needed"):
        load_profile(SHIPPED / f"{name}.yaml")


def test_what_a_profile_leaves_out_keeps_the_default(tmp_path):
    assert _load(tmp_path, "") == Profile()
    changed = _load(tmp_path, "masks: {step: 7}")
    assert changed.masks.step == 7
    assert changed.model_copy(update={"masks": Profile().masks}) == Profile()


def test_overrides_stand_over_the_file_and_are_validated(tmp_path):
    profile = _load(tmp_path, "data: {image_size: 80}", source="folder", root="/somewhere")
    assert (profile.data.source, profile.data.root, profile.data.image_size) == ("folder", "/somewhere", 80)
    assert _load(tmp_path, "data: {image_size: 80}", source=None, root=None).data.source == "phantom"
    with pytest.raises(StudyError, match="`data.source`.*found 'kaggle'"):
        _load(tmp_path, "", source="kaggle")


def test_scientific_notation_without_a_point_is_a_number(tmp_path):
    """YAML 1.1 reads 1e-4 as text; people write it all the same."""
    assert _load(tmp_path, "training: {learning_rate: 1e-4}").training.learning_rate == 1e-4


MISTAKES = {
    "unknown section": ("trainning: {epochs: 3}", ["unknown key `trainning`", "expected one of", "training"]),
    "unknown key": ("training: {epoch: 3}", ["unknown key `training.epoch`", "epochs", "batch_size"]),
    "unknown key of a writer": ("reports: {settings: {llama: {url: x}}}", ["unknown key `reports.settings.llama.url`", "base_url"]),
    "unknown writer": ("reports: {writers: [template, gpt5]}", ["`reports.writers.1`", "'gpt5'", "grok3"]),
    "settings of an unknown writer": ("reports: {settings: {grok: {model: x}}}", ["reports.settings.grok", "grok3"]),
    "no writer": ("reports: {writers: []}", ["`reports.writers`"]),
    "wrong type": ("training: {epochs: many}", ["`training.epochs`", "integer", "'many'"]),
    "section is a number": ("data: 5", ["`data`", "5"]),
    "section is a list": ("masks: [1, 2]", ["`masks`"]),
    "zero epochs": ("training: {epochs: 0}", ["`training.epochs`", "greater than or equal to 1", "found 0"]),
    "share too large": ("data: {test_share: 0.7}", ["`data.test_share`", "less than 0.5", "found 0.7"]),
    "infinite weight": ("training: {segmentation_weight: .inf}", ["`training.segmentation_weight`", "finite", "inf"]),
    "rate is not a number": ("training: {learning_rate: .nan}", ["`training.learning_rate`", "nan"]),
    "percentiles crossed": ("masks: {lowest_percentile: 95, highest_percentile: 90}", ["`masks.lowest_percentile` must be below"]),
    "one fold of two": ("data: {test_fold: 1}", ["`data.test_fold`", "`data.validation_fold`", "both or neither"]),
    "same fold twice": ("data: {test_fold: 2, validation_fold: 2}", ["`data.test_fold`", "must differ"]),
    "unknown architecture": ("training: {architectures: [vgg16, resnet18]}", ["`training.architectures.1`", "'resnet18'", "resnet50v2"]),
    "no architecture": ("training: {architectures: []}", ["`training.architectures`", "at least one"]),
    "architecture twice": ("training: {architectures: [vgg16, vgg16]}", ["`training.architectures`", "only once"]),
    "rate of an unknown architecture": ("training: {learning_rates: {vgg: 0.1}}", ["training.learning_rates.vgg", "'vgg'"]),
    "ablation not trained": ("training: {architectures: [vgg16], ablation: [vgg19]}", ["`training.ablation`", "vgg19"]),
    "ablation of the hybrid alone": ("training: {ablation_variants: [hybrid]}", ["`training.ablation_variants`", "at least one other"]),
    "ablation without the hybrid": ("training: {ablation_variants: [two_heads, classification_only]}", ["`training.ablation_variants`", "the hybrid"]),
    "image too small": ("data: {image_size: 64}", ["xception", "`data.image_size`", "at least 71", "found 64"]),
    "image too small for all": ("{data: {image_size: 16}, training: {architectures: [vgg16]}}", ["`data.image_size`", "32", "found 16"]),
    "not a mapping": ("- seed", ["own.yaml", "list", "data:"]),
    "not YAML": ("data: {image_size: 96", ["own.yaml", "not valid YAML", "line 1"]),
    "not text": (b"seed: \xff\xfe1", ["own.yaml", "not valid YAML"]),
}


@pytest.mark.parametrize(("text", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_that_names_the_key(tmp_path, text, parts):
    with pytest.raises(StudyError) as raised:
        _load(tmp_path, text)
    message = one_sentence(str(raised.value))
    assert "own.yaml" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", ["data: 5", "data: [1]"])
def test_an_override_does_not_hide_a_broken_section(tmp_path, text):
    with pytest.raises(StudyError, match="`data`"):
        _load(tmp_path, text, source="phantom")


def test_a_missing_profile_lists_those_there():
    with pytest.raises(StudyError) as raised:
        load_profile(SHIPPED / "fast.yaml")
    assert "fast.yaml not found" in one_sentence(str(raised.value)) and "cpu, paper, quick, smoke" in str(raised.value)
    with pytest.raises(StudyError, match="not found"):
        load_profile(SHIPPED)


@given(size=st.integers(32, 110), architecture=st.sampled_from(NINE))
@settings(max_examples=60, deadline=None)
def test_an_input_is_accepted_exactly_from_the_smallest_that_the_network_takes(size, architecture):
    content = {"data": {"image_size": size}, "training": {"architectures": [architecture]}}
    smallest = {"xception": 71, "inceptionv3": 75, "inceptionresnetv2": 75}.get(architecture, 32)
    assert SMALLEST_INPUT.get(architecture, 32) == smallest
    if size >= smallest:
        assert Profile.model_validate(content).data.image_size == size
    else:
        with pytest.raises(ValueError, match=f"at least {smallest}"):
            Profile.model_validate(content)


def test_saving_resolves_every_default_and_keeps_an_unchanged_file(tmp_path):
    path = tmp_path / "study" / "profile.yaml"
    profile = _load(tmp_path, "{seed: 4, training: {learning_rates: {vgg16: 0.0001}}}")
    save_profile(profile, path)
    written = yaml.safe_load(path.read_text())
    assert written["seed"] == 4 and written["training"]["epochs"] == 10 and written["training"]["learning_rates"] == {"vgg16": 0.0001}
    assert load_profile(path) == profile
    os.utime(path, ns=(1, 1))
    save_profile(load_profile(path), path)
    assert path.stat().st_mtime_ns == 1, "Snakemake would run everything again"
    save_profile(Profile(seed=5), path)
    assert path.stat().st_mtime_ns != 1 and yaml.safe_load(path.read_text())["seed"] == 5


def test_a_chapters_own_parameters_stand_over_the_studys_profile(tmp_path):
    path = tmp_path / "profile.yaml"
    save_profile(Profile(seed=9, masks={"step": 3}), path)
    profile = study_profile(path, masks={"fixed_percentile": 85, "step": None}, reports={})
    assert (profile.masks.fixed_percentile, profile.masks.step, profile.seed) == (85, 3, 9)
    assert study_profile(path).masks.fixed_percentile == 90, "the file itself stays as it was"


@pytest.mark.parametrize(
    ("sections", "part"),
    [
        ({"masks": {"fixed_percentile": 100}}, "`masks.fixed_percentile`"),
        ({"masks": {"percentile": 90}}, "unknown key `masks.percentile`"),
        ({"training": {"architectures": ["alexnet"]}}, "'alexnet'"),
        ({"data": {"image_size": 70}}, "xception needs `data.image_size`"),
    ],
)
def test_a_chapters_own_parameters_are_validated(tmp_path, sections, part):
    save_profile(Profile(), tmp_path / "profile.yaml")
    with pytest.raises(StudyError) as raised:
        study_profile(tmp_path / "profile.yaml", **sections)
    assert part in one_sentence(str(raised.value))


def test_a_study_without_a_profile_says_how_to_make_one(tmp_path):
    with pytest.raises(StudyError, match="xai.preflight"):
        study_profile(tmp_path / "profile.yaml")
    (tmp_path / "profile.yaml").write_text("seed: [")
    with pytest.raises(StudyError, match="not valid YAML"):
        study_profile(tmp_path / "profile.yaml")
