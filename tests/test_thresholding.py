"""Choosing thresholds: on validation slices alone, whatever the test masks say."""

import json

import numpy as np
import pandas as pd
import pytest
from small_study import SIZE, write_small_study

from xai.data.dataset import Dataset
from xai.masks import RULES, refine, threshold
from xai.metrics import overlap
from xai.metrics.intervals import patient_interval
from xai.outlines import STEPS, follow_image
from xai.paths import LABELS
from xai.profiles import Profile
from xai.thresholding import (
    LABEL_FREE, against_baselines, choices_in_short, choose_rules, example_steps, mask_study, masks_of, outlined, percentiles, step_gains, validation_curves,
)  # fmt: skip

METHODS = ("gradcam", "scorecam")
PROFILE = Profile(
    data={"image_size": SIZE}, training={"architectures": ["vgg16"]},
    saliency={"methods": METHODS, "test_slices": 9, "validation_slices": 6},
    masks={"lowest_percentile": 70, "highest_percentile": 98, "step": 4, "fixed_percentile": 97.0},
)  # fmt: skip


def heat_around(masks: np.ndarray, *, noise: float, seed: int) -> np.ndarray:
    """Heat that is largest in the tumour, with noise on top; float16 in [0, 1]."""
    draw = np.random.default_rng(seed)
    heat = masks * 1.0 + draw.normal(0, noise, masks.shape)
    low, high = heat.min(axis=(1, 2), keepdims=True), heat.max(axis=(1, 2), keepdims=True)
    return ((heat - low) / (high - low)).astype(np.float16)


@pytest.fixture
def study(tmp_path):
    """Prepared data, and heatmaps as chapter 3 writes them: NaN where the profile leaves a test slice out."""
    study = write_small_study(tmp_path / "study")
    dataset = Dataset(study)
    test, validation = dataset.rows("test"), dataset.balanced_rows("validation", 6)
    explained = np.isin(test, dataset.balanced_rows("test", 9))
    for number, method in enumerate(METHODS):
        maps = heat_around(np.asarray(dataset.masks[test]), noise=0.3 + 0.3 * number, seed=number)
        maps[~explained] = np.nan
        study.heatmaps("vgg16", method).parent.mkdir(parents=True, exist_ok=True)
        np.save(study.heatmaps("vgg16", method), maps)
        np.save(study.heatmaps("vgg16", f"validation_{method}"),
                heat_around(np.asarray(dataset.masks[validation]), noise=0.3 + 0.3 * number, seed=10 + number))  # fmt: skip
    return study


def rewrite_masks(study, split: str) -> None:
    """Other tumours in one split: the masks mirrored up to down."""
    masks, rows = np.load(study.masks), Dataset(study).rows(split)
    masks[rows] = masks[rows, ::-1]
    np.save(study.masks, masks)


def decisions(study):
    curves = validation_curves(study, PROFILE)
    return curves, choose_rules(study, PROFILE, curves)


def test_candidates():
    assert percentiles(PROFILE).tolist() == [70, 74, 78, 82, 86, 90, 94, 98]


def test_curves_and_choice_recomputed(study):
    """Each point is the mean Dice of cleaned masks; the chosen percentile is where it is largest, the rule likewise."""
    dataset = Dataset(study)
    rows = dataset.rows("validation")
    truth = np.asarray(dataset.masks[rows], bool)
    curves, rules = decisions(study)
    for method in METHODS:
        maps = np.load(study.heatmaps("vgg16", f"validation_{method}")).astype(np.float32)
        expected = {}
        for level in percentiles(PROFILE):
            masks = refine(threshold(maps, level), maps)
            expected[level] = np.mean([2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(masks, truth)])
        found = curves[curves["method"] == method].set_index("percentile")["dice"]
        assert found.to_dict() == pytest.approx(expected)
        choice = rules[rules["method"] == method].iloc[0]
        assert choice["percentile"] == max(expected, key=expected.get)
        assert choice["validation"] == pytest.approx(max(expected.values()))
        assert choice[choice["rule"]] == max(choice[rule] for rule in LABEL_FREE)
        fixed = refine(threshold(maps, 97.0), maps)
        images = np.asarray(dataset.images[dataset.balanced_rows("validation", 6)])
        cleaned = masks_of(choice["rule"], maps, images, PROFILE, chosen=choice["percentile"])
        for step in STEPS:
            followed = cleaned if step == "none" else refine(follow_image(step, cleaned, maps, images), maps, opening_radius=0)
            assert choice[step] == pytest.approx(overlap.dice(followed, truth).mean())
        assert choice["dice"] == choice[choice["outline"]] == max(choice[step] for step in STEPS)
        assert choice["none"] == choice[choice["rule"]]
        assert choice["fixed"] == pytest.approx(np.mean([2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(fixed, truth)]))


def test_rules_and_masks_never_depend_on_the_test_masks(study):
    """With other tumours in the test split nothing chosen and nothing written changes, only the scores; in validation it does."""
    curves, rules = decisions(study)
    scores = mask_study(study, PROFILE, rules)
    written = {method: np.load(study.cam_masks("vgg16", method)) for method in METHODS}
    rewrite_masks(study, "test")
    curves_again, rules_again = decisions(study)
    pd.testing.assert_frame_equal(curves, curves_again)
    pd.testing.assert_frame_equal(rules, rules_again)
    other_scores = mask_study(study, PROFILE, rules_again)
    for method in METHODS:
        assert np.array_equal(written[method], np.load(study.cam_masks("vgg16", method)))
    assert (scores["dice"] - other_scores["dice"]).abs().max() > 0.1
    rewrite_masks(study, "validation")
    curves_changed, _ = decisions(study)
    assert (curves["dice"] - curves_changed["dice"]).abs().max() > 0.1


def test_rules_never_chosen_by_the_oracle(study):
    assert "oracle" not in LABEL_FREE and set(LABEL_FREE) | {"oracle"} == set(RULES)
    _, rules = decisions(study)
    assert set(rules["rule"]) <= set(LABEL_FREE)


def test_masks_of_each_rule(study):
    """The rules differ in the percentile alone: the profile's, validation's, the image's own, or the best in hindsight."""
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", 9)
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    maps = heat_around(truth, noise=0.4, seed=5).astype(np.float32)
    masks = {rule: masks_of(rule, maps, images, PROFILE, chosen=82, truth=truth) for rule in RULES}
    assert np.array_equal(masks["fixed"], refine(threshold(maps, 97.0), maps))
    assert np.array_equal(masks["validation"], refine(threshold(maps, 82), maps))
    oracle = overlap.dice(masks["oracle"], truth)
    by_level = np.stack([overlap.dice(refine(threshold(maps, level), maps), truth) for level in percentiles(PROFILE)])
    assert oracle == pytest.approx(by_level.max(axis=0))
    for rule in ("validation", "contrast", "edges"):  # their percentiles are among the oracle's candidates
        assert (oracle >= overlap.dice(masks[rule], truth) - 1e-12).all()
    assert len({mask.tobytes() for mask in masks.values()}) == len(RULES)


def test_opening_radius_of_the_profile_is_used(study):
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", 9)
    maps = heat_around(np.asarray(dataset.masks[rows]), noise=0.2, seed=5).astype(np.float32)
    wide = PROFILE.model_copy(update={"masks": PROFILE.masks.model_copy(update={"opening_radius": 2})})
    found = masks_of("validation", maps, np.asarray(dataset.images[rows]), wide, chosen=86)
    assert np.array_equal(found, refine(threshold(maps, 86), maps, opening_radius=2))
    assert not np.array_equal(found, refine(threshold(maps, 86), maps, opening_radius=1))


def test_written_masks_and_table(study):
    """Masks stand in test order, empty where nothing was explained; the table's means are those of the slices."""
    dataset = Dataset(study)
    test = dataset.rows("test")
    explained = np.isin(test, dataset.balanced_rows("test", 9))
    _, rules = decisions(study)
    table = mask_study(study, PROFILE, rules)
    labels = dataset.index["label"].to_numpy()[test]
    truth = np.asarray(dataset.masks[test], bool)
    for choice in rules.itertuples():
        path = study.cam_masks("vgg16", choice.method)
        masks = np.load(path)
        assert masks.dtype == np.uint8 and masks.shape == (35, SIZE, SIZE) and set(np.unique(masks)) == {0, 1}
        assert not masks[~explained].any() and masks[explained].any(axis=(1, 2)).all()
        assert json.loads(path.with_suffix(".json").read_text()) == {"rule": choice.rule, "percentile": choice.percentile, "outline": choice.outline}
        rows = table[(table["architecture"] == "vgg16") & (table["method"] == choice.method) & (table["threshold"] == "chosen")]
        rows = rows.set_index("label")
        for label in LABELS:
            of_class = explained & (labels == label)
            dice = [2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(masks[of_class] > 0, truth[of_class])]
            assert rows.loc[label, "dice"] == pytest.approx(np.mean(dice)) and rows.loc[label, "slices"] == len(dice) == 3
        assert rows.loc["all", "dice"] == pytest.approx(rows.loc[list(LABELS), "dice"].mean()) and rows.loc["all", "slices"] == 9
        kept = (masks[explained] > 0, truth[explained])
        interval = patient_interval(overlap.dice(*kept), dataset.index["patient"].to_numpy()[test][explained], draws=1000, seed=PROFILE.seed)
        assert (rows.loc["all", "dice_low"], rows.loc["all", "dice_high"]) == pytest.approx(interval)
    networks = table[table["architecture"] == "vgg16"]
    assert len(networks) == 2 * (len(RULES) + 1) * 4
    assert set(table.loc[table["architecture"] == "none", "method"]) == {"random", "centre", "mean mask", "edges", "intensity"}
    for _, part in networks[networks["label"] == "all"].groupby("method"):
        dice = part.set_index("threshold")["dice"]
        assert dice["oracle"] >= dice[["validation", "contrast", "edges"]].max()


def test_mean_mask_baseline_is_made_of_training_masks(study):
    """If it saw the test masks, this baseline would change with them."""
    _, rules = decisions(study)
    before = mask_study(study, PROFILE, rules).query("method == 'mean mask' and threshold == 'fixed' and label == 'all'")
    masks = np.load(study.masks)
    masks[Dataset(study).rows("train")] = 0
    masks[Dataset(study).rows("train"), :3, :3] = 1  # no test tumour lies there
    np.save(study.masks, masks)
    after = mask_study(study, PROFILE, rules).query("method == 'mean mask' and threshold == 'fixed' and label == 'all'")
    assert before["dice"].item() > 0 and after["dice"].item() == pytest.approx(0, abs=0.05)


def test_example_is_the_slice_in_the_middle(study):
    dataset = Dataset(study)
    _, rules = decisions(study)
    example = example_steps(study, PROFILE, rules)
    best = rules.loc[rules["dice"].idxmax()]
    test, rows = dataset.rows("test"), dataset.balanced_rows("test", 9)
    maps = np.load(study.heatmaps("vgg16", best["method"]))[np.searchsorted(test, rows)].astype(np.float32)
    images = np.asarray(dataset.images[rows])
    cleaned = masks_of(best["rule"], maps, images, PROFILE, chosen=best["percentile"])
    final = outlined(best["outline"], cleaned, maps, images)
    dice = overlap.dice(final, np.asarray(dataset.masks[rows]))
    shown = int(np.flatnonzero((images == example.image).all(axis=(1, 2)))[0])
    assert dice[shown] == np.median(dice)
    assert np.array_equal(example.truth, dataset.masks[rows[shown]]) and np.array_equal(example.heatmap, maps[shown])
    names = list(example.steps)
    assert names[1:4] == ["opened", "component", "filled"] and names[4:] == ([] if best["outline"] == "none" else [best["outline"]])
    assert np.array_equal(example.steps["filled"], cleaned[shown]) and np.array_equal(example.steps[names[-1]], final[shown])


def test_choices_in_short_by_hand():
    rules = pd.DataFrame({"method": ["gradcam", "gradcam", "scorecam"], "rule": ["b", "a", "b"], "a": [0.2, 0.4, 0.5], "b": [0.3, 0.1, 0.7], "c": 0.0})
    table = choices_in_short(rules, ("a", "b", "c"), "rule").set_index("rule")
    assert table["gradcam"].tolist() == pytest.approx([0.3, 0.2, 0]) and table["scorecam"].tolist() == [0.5, 0.7, 0]
    assert table["chosen"].tolist() == [1, 2, 0]


def test_gain_of_each_step_is_paired_by_slice(study):
    """Recomputed for one step: mean over both methods, slice by slice, and its interval over patients."""
    dataset = Dataset(study)
    _, rules = decisions(study)
    table = step_gains(study, PROFILE, rules).set_index("step")
    assert list(table.index) == ["cut", "opened", "component", "filled", *STEPS[1:]] and np.isnan(table.loc["cut", "gain"])
    test, rows = dataset.rows("test"), dataset.balanced_rows("test", 9)
    images, truth = np.asarray(dataset.images[rows]), np.asarray(dataset.masks[rows])
    before, after = [], []
    for choice in rules.itertuples():
        maps = np.load(study.heatmaps("vgg16", choice.method))[np.searchsorted(test, rows)].astype(np.float32)
        cleaned = masks_of(choice.rule, maps, images, PROFILE, chosen=choice.percentile)
        before.append(overlap.dice(cleaned, truth))
        after.append(overlap.dice(outlined("grabcut", cleaned, maps, images), truth))
    gain = np.mean(after, axis=0) - np.mean(before, axis=0)
    row = table.loc["grabcut"]
    assert row["dice"] == pytest.approx(np.mean(after)) and row["gain"] == pytest.approx(gain.mean())
    patients = dataset.index["patient"].to_numpy()[rows]
    interval = patient_interval(gain, patients, draws=PROFILE.evaluation.bootstrap, seed=PROFILE.seed)
    assert (row["gain_low"], row["gain_high"]) == pytest.approx(interval)
    assert table.loc["filled", "gain"] == pytest.approx(table.loc["filled", "dice"] - table.loc["component", "dice"])


def test_against_baselines_by_hand():
    """Two networks at .5 and .2 against baselines at .3 and .1; other rules and classes do not count."""
    rows = [("a", "gradcam", "fixed", "all", 0.5), ("b", "gradcam", "fixed", "all", 0.2), ("a", "gradcam", "oracle", "all", 0.9),
            ("a", "gradcam", "fixed", "glioma", 0.9), ("none", "centre", "fixed", "all", 0.3), ("none", "edges", "fixed", "all", 0.1),
            ("none", "edges", "oracle", "all", 0.8)]  # fmt: skip
    result = against_baselines(pd.DataFrame(rows, columns=["architecture", "method", "threshold", "label", "dice"]))
    assert result.to_dict("records") == [{
        "method": "gradcam", "dice": pytest.approx(0.35), "best baseline": "centre", "baseline dice": 0.3, "verdict": "1 of 2 networks beat it",
    }]  # fmt: skip


def test_missing_heatmaps_name_their_chapter(study):
    study.heatmaps("vgg16", "validation_gradcam").unlink()
    with pytest.raises(ValueError, match="03_saliency of vgg16"):
        validation_curves(study, PROFILE)
