"""The ablation: which runs there are, where repeats live, and paired comparisons that are right to the slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_study import SIZE, write_small_study

from xai import ablation
from xai.data.dataset import Dataset
from xai.metrics.intervals import patient_interval
from xai.metrics.overlap import dice, pointing_game
from xai.paths import LABELS, VARIANTS, Study, atomic
from xai.profiles import Profile, study_profile

PROFILE = Profile(
    seed=5, data={"image_size": SIZE}, training={"architectures": ["vgg16"], "ablation": ["vgg16"], "ablation_seeds": 2, "run_eagerly": True},
    saliency={"minimum_grid": 2, "test_slices": 7, "validation_slices": 3}, masks={"step": 10}, evaluation={"bootstrap": 80},
)  # fmt: skip


@pytest.fixture
def study(tmp_path) -> Study:
    return write_small_study(tmp_path / "study")


def _write_run(study: Study, variant: str, seed: int, wrong: int, shift: int) -> None:
    """Predictions with the first `wrong` test slices wrong, masks moved by `shift` columns, heatmap scores by number."""
    own, _ = ablation.repeat(study, PROFILE, seed)
    dataset = Dataset(own)
    rows = dataset.rows("test")
    table = dataset.index.loc[rows, ["id", "label", "patient", "plane"]].reset_index(drop=True)
    if variant != "segmentation_only":
        chosen = (dataset.labels(rows) + (np.arange(len(rows)) < wrong)) % 3
        with atomic(own.predictions("vgg16", variant)) as temporary:
            table.join(pd.DataFrame(np.eye(3)[chosen], columns=[f"prob_{label}" for label in LABELS])).to_csv(temporary, index=False)
        explained = table[["id", "patient"]].iloc[::5]
        scores = {f"{method}_{what}": 0.1 * wrong + 0.01 * number for number, (method, what) in enumerate(
            (method, what) for method in ablation.METHODS for what in ("dice", "pointing"))}
        with atomic(own.model("vgg16", variant) / "cam_overlap.csv") as temporary:
            explained.assign(**scores).to_csv(temporary, index=False)
    if variant != "classification_only":
        with atomic(own.test_masks("vgg16", variant)) as temporary:
            np.save(temporary, np.roll(np.asarray(dataset.masks[rows]), shift, axis=2).astype(np.float16))


@pytest.fixture
def scores(study) -> pd.DataFrame:
    wrong = {("hybrid", 5): 2, ("hybrid", 6): 4, ("classification_only", 5): 5, ("classification_only", 6): 5, ("two_heads", 5): 1}
    for _, variant, seed in ablation.runs_of(PROFILE):
        _write_run(study, variant, seed, wrong.get((variant, seed), 0), {"hybrid": 1, "segmentation_only": 3}.get(variant, 0))
    return ablation.run_scores(study, PROFILE)


def test_runs_are_every_variant_with_every_seed():
    assert ablation.runs_of(PROFILE) == [("vgg16", variant, seed) for variant in VARIANTS for seed in (5, 6)]


def test_fewer_variants_are_fewer_runs_and_gaps(scores):
    few = PROFILE.model_copy(update={"training": PROFILE.training.model_copy(update={"ablation_variants": ("classification_only", "hybrid")})})
    assert ablation.runs_of(few) == [("vgg16", variant, seed) for variant in ("hybrid", "classification_only") for seed in (5, 6)]
    part = scores[scores["variant"].isin(few.training.ablation_variants)]
    assert set(ablation.gap_table(part, few)["against"]) == {"classification_only"}
    assert list(ablation.ablation_table(part, few)["variant"]) == ["hybrid", "classification_only"]


def test_a_repeat_shares_the_arrays_and_has_its_own_seed(study):
    same, profile = ablation.repeat(study, PROFILE, None)
    assert same is study and profile is PROFILE and ablation.repeat(study, PROFILE, 5)[0] is study
    other, own = ablation.repeat(study, PROFILE, 6)
    assert other.root == study.root / "ablation" / "seed_6" and own.seed == 6 and study_profile(other.profile).seed == 6
    assert other.images.samefile(study.images) and other.masks.samefile(study.masks)
    assert other.index.read_bytes() == study.index.read_bytes()
    stamp = other.index.stat().st_mtime_ns
    ablation.repeat(study, PROFILE, 6)
    assert other.index.stat().st_mtime_ns == stamp, "what is right stays untouched"


def test_a_repeat_follows_a_dataset_that_was_prepared_again(study):
    other, _ = ablation.repeat(study, PROFILE, 6)
    with atomic(study.images) as temporary:
        np.save(temporary, np.zeros((len(Dataset(study).index), SIZE, SIZE), np.uint8))
    assert np.load(other.images).any()
    ablation.repeat(study, PROFILE, 6)
    assert not np.load(other.images).any()


def test_table_t8_by_hand(scores, study):
    table = ablation.ablation_table(scores, PROFILE).set_index("variant")
    assert table["seeds"].tolist() == [2, 2, 2, 2]
    assert table.loc["hybrid", "accuracy"] == pytest.approx(1 - 3 / 35) and table.loc["classification_only", "accuracy"] == pytest.approx(30 / 35)
    assert table.loc["hybrid", "accuracy_sd"] == pytest.approx(np.std([33 / 35, 31 / 35], ddof=1))
    assert table.loc["classification_only", "accuracy_sd"] == 0
    assert np.isnan(table.loc["segmentation_only", "accuracy"]) and np.isnan(table.loc["classification_only", "dice"])
    dataset = Dataset(study)
    truth = np.asarray(dataset.masks[dataset.rows("test")]) > 0
    expected = {shift: dice(np.roll(truth, shift, axis=2), truth) for shift in (1, 3)}
    assert table.loc["hybrid", "dice"] == pytest.approx(expected[1].mean()) and table.loc["segmentation_only", "dice"] == pytest.approx(expected[3].mean())
    patients = dataset.index["patient"].to_numpy()[dataset.rows("test")]
    interval = patient_interval(expected[1], patients, draws=80, seed=5)
    assert (table.loc["hybrid", "dice_low"], table.loc["hybrid", "dice_high"]) == pytest.approx(interval)
    assert table.loc["hybrid", "gradcam_pointing"] == pytest.approx(0.3 + 0.01) and table.loc["classification_only", "gradcampp_dice"] == pytest.approx(0.5 + 0.02)


def test_gaps_are_paired_by_slice(scores):
    gaps = ablation.gap_table(scores, PROFILE).set_index(["measure", "against"])
    cams = [(f"{method}_{what}", against) for what in ("dice", "pointing") for method in ablation.METHODS for against in ("two_heads", "classification_only")]
    assert set(gaps.index) == {*cams, ("accuracy", "two_heads"), ("accuracy", "classification_only"), ("dice", "two_heads"), ("dice", "segmentation_only")}
    accuracy = gaps.loc[("accuracy", "classification_only")]
    assert accuracy["gap"] == pytest.approx(5 / 35 - 3 / 35)
    assert gaps.loc[("accuracy", "two_heads"), "gap"] == pytest.approx(0.5 / 35 - 3 / 35)
    assert gaps.loc[("dice", "segmentation_only"), "gap_low"] > 0 > gaps.loc[("dice", "two_heads"), "gap_high"]
    cam = gaps.loc[("gradcam_dice", "classification_only")]
    assert cam["gap"] == pytest.approx(-0.2)
    assert cam["gap_low"] == pytest.approx(-0.2), "the same gap on every slice leaves no uncertainty"
    # Slices right under both variants have gap zero: the interval is far narrower than that of unpaired accuracies.
    assert accuracy["gap_low"] >= 0


def test_no_ablation_is_empty_tables(study):
    none = PROFILE.model_copy(update={"training": PROFILE.training.model_copy(update={"ablation": ()})})
    scores = ablation.run_scores(study, none)
    assert ablation.ablation_table(scores, none).empty and ablation.gap_table(scores, none).empty


@pytest.mark.parametrize("method", ablation.METHODS)
def test_cam_overlap_is_that_of_the_rule_and_step_best_on_validation(study, method):
    from xai.saliency import Split, explain, methods_for
    from xai.thresholding import LABEL_FREE, STEPS, masks_of, outlined, percentile_curve
    from xai.training import build

    profile = PROFILE.model_copy(update={"masks": PROFILE.masks.model_copy(update={"lowest_percentile": 90, "step": 5})})
    model = build(profile, "vgg16", "classification_only")
    weights = study.weights("vgg16", "classification_only")
    weights.parent.mkdir(parents=True)
    model.save_weights(weights)
    table = ablation.cam_overlap(study, profile, "vgg16", "classification_only")
    dataset = Dataset(study)
    rows = {"validation": dataset.balanced_rows("validation", 3), "test": dataset.balanced_rows("test", 7)}
    assert list(table["id"]) == list(dataset.index["id"].iloc[rows["test"]])
    methods = methods_for(Split(model, minimum_grid=2), [method])
    maps = {part: np.concatenate([m[method] for _, m in explain(methods, dataset.images[where])]) for part, where in rows.items()}
    truth, images = ({part: np.asarray(array[where]) for part, where in rows.items()} for array in (dataset.masks, dataset.images))
    curve = percentile_curve(maps["validation"], truth["validation"], profile)
    assert list(curve) == [90, 95]

    def scores(part, rule, step):
        masks = masks_of(rule, maps[part], images[part], profile, chosen=max(curve, key=curve.get))
        return dice(outlined(step, masks, maps[part], images[part]), truth[part])

    rule = max(LABEL_FREE, key=lambda rule: scores("validation", rule, "none").mean())
    step = max(STEPS, key=lambda step: scores("validation", rule, step).mean())
    assert rule == "otsu", "with high percentiles alone to choose from, another rule is best"
    assert table[f"{method}_dice"].to_numpy() == pytest.approx(scores("test", rule, step), abs=1e-6)
    assert table[f"{method}_pointing"].to_numpy() == pytest.approx(pointing_game(maps["test"], truth["test"]))
    stamp = (weights.parent / "cam_overlap.csv").stat().st_mtime_ns
    ablation.cam_overlap(study, profile, "vgg16", "classification_only")
    assert (weights.parent / "cam_overlap.csv").stat().st_mtime_ns == stamp
    other = profile.model_copy(update={"masks": profile.masks.model_copy(update={"opening_radius": 0})})
    ablation.cam_overlap(study, other, "vgg16", "classification_only")
    assert (weights.parent / "cam_overlap.csv").stat().st_mtime_ns != stamp, "another knob is another result"
