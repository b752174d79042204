"""Painting pieces over: the piece that the network uses wins, whatever the chunk, and the table compares it with the image alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_study import SIZE, write_small_study
from test_pieces import head, spot

from xai import occlusion, plots
from xai.data.dataset import Dataset
from xai.metrics.overlap import dice
from xai.paths import StudyError, atomic
from xai.pieces import pieces, without
from xai.profiles import Profile

PROFILE = Profile(
    seed=5, data={"image_size": SIZE}, training={"architectures": ["vgg16"], "ablation": ["vgg16"], "run_eagerly": True},
    saliency={"minimum_grid": 2, "test_slices": 6, "validation_slices": 3}, evaluation={"bootstrap": 60},
)  # fmt: skip
USED, UNUSED = spot(160, 0.45, 0.35, 0.06), spot(160, 0.5, 0.65, 0.09)


def looks_at(mask: np.ndarray):
    """A network whose first class is the mean brightness under a mask, and whose second knows nothing."""
    return lambda images: np.stack([images[:, mask].mean(axis=1), np.zeros(len(images))], axis=1)


def two_spots() -> np.ndarray:
    image = head()
    image[USED], image[UNUSED] = 180, 220
    return image


def test_the_piece_that_the_network_uses_changes_its_answer_most():
    image = two_spots()
    found = pieces(image)
    scores = occlusion.rank(looks_at(USED), image, found)
    chosen = {way: found[np.argmax(values)] for way, values in scores.items()}
    assert dice(chosen["network"][None], USED[None])[0] > 0.7, "the network's own"
    assert dice(chosen["image"][None], UNUSED[None])[0] > 0.8, "the larger and brighter one catches the eye"
    assert dice(chosen["both"][None], USED[None])[0] > 0.8


def test_changes_are_sums_over_classes_whatever_the_chunk(monkeypatch):
    image = two_spots()
    found, network = pieces(image), looks_at(UNUSED)
    by_hand = [abs(network(without(image, piece)[None]) - network(image[None])).sum() for piece in found]
    for chunk in (1, 3, 64):
        monkeypatch.setattr(occlusion, "CHUNK", chunk)
        np.testing.assert_allclose(occlusion.changes(network, image, found), by_hand, rtol=1e-4, atol=1e-3)


def test_without_pieces_there_is_nothing_to_rank():
    scores = occlusion.rank(looks_at(USED), np.zeros((160, 160)), np.zeros((0, 160, 160), bool))
    assert {way: values.shape for way, values in scores.items()} == dict.fromkeys(occlusion.WAYS, (0,))
    assert not occlusion.heatmap(np.zeros(0), np.zeros((0, 160, 160), bool)).any()


def test_a_pixel_of_a_heatmap_has_the_best_score_of_its_pieces():
    found = np.zeros((3, 4, 4), bool)
    found[0, :3], found[1, 1], found[2, 3, 3] = True, True, True
    told = occlusion.heatmap(np.array([1.0, 4.0, 2.0]), found)
    np.testing.assert_allclose(told, np.array([[1] * 4, [4] * 4, [1] * 4, [0, 0, 0, 2]]) / 4)


@pytest.fixture
def study(tmp_path):
    from xai.models import build_hybrid

    study = write_small_study(tmp_path / "study")
    for variant in occlusion.VARIANTS:
        model = build_hybrid("vgg16", image_size=SIZE, variant=variant, seed=3)
        with atomic(study.weights("vgg16", variant)) as temporary:
            model.save_weights(temporary)
    return study


def test_a_network_is_scored_slice_by_slice_and_not_twice(study, monkeypatch):
    table = occlusion.overlap_of(study, PROFILE, "vgg16", "classification_only")
    dataset = Dataset(study)
    rows = dataset.balanced_rows("test", 6)
    assert list(table["id"]) == list(dataset.index["id"].iloc[rows])
    for row, best in zip(rows, table["best_dice"]):
        found, truth = pieces(np.asarray(dataset.images[row])), np.asarray(dataset.masks[row]) > 0
        assert best == pytest.approx(max((dice(piece[None], truth[None])[0] for piece in found), default=0))
    for way in occlusion.WAYS:
        assert (table[f"{way}_dice"] <= table["best_dice"] + 1e-9).all() and table[f"{way}_pointing"].isin([0, 1]).all()
    monkeypatch.setattr(occlusion, "pieces", lambda image: pytest.fail("it was there already"))
    pd.testing.assert_frame_equal(occlusion.overlap_of(study, PROFILE, "vgg16", "classification_only"), table)


def test_the_table_pairs_each_way_with_the_image_alone(study):
    table = occlusion.summary(study, PROFILE)
    assert list(table["variant"].unique()) == list(occlusion.VARIANTS)
    assert list(table["chosen_by"]) == [*(f"pieces_{way}" for way in occlusion.WAYS), "pieces_best"] * len(occlusion.VARIANTS)
    for (_, variant), part in table.groupby(["architecture", "variant"], sort=False):
        part = part.set_index("chosen_by")
        assert np.isnan(part.loc["pieces_image", "gain"]) and np.isnan(part.loc["pieces_best", "pointing"])
        for way in ("pieces_network", "pieces_both", "pieces_best"):
            assert part.loc[way, "gain"] == pytest.approx(part.loc[way, "dice"] - part.loc["pieces_image", "dice"])
            assert part.loc[way, "gain_low"] <= part.loc[way, "gain"] <= part.loc[way, "gain_high"]
    short = occlusion.in_short(table)
    assert list(short["chosen_by"]) == ["pieces_image", "pieces_best", *["pieces_network", "pieces_both"] * len(occlusion.VARIANTS)]
    assert list(short["variant"]) == ["any", "any", *np.repeat(occlusion.VARIANTS, 2)] and occlusion.in_short(table[:0]).empty
    image = table[table["chosen_by"] == "pieces_image"]["dice"]
    assert image.nunique() == 1, "what the image says does not depend on the network"


def test_no_ablation_is_an_empty_table_and_a_missing_network_is_named(tmp_path):
    study = write_small_study(tmp_path / "study")
    none = PROFILE.model_copy(update={"training": PROFILE.training.model_copy(update={"ablation": ()})})
    assert occlusion.summary(study, none).empty and "gain_high" in occlusion.summary(study, none)
    assert occlusion.examples(study, none) is None and plots.plot_pieces(None).axes[0].texts[0].get_text() == "no ablation in this profile"
    with pytest.raises(StudyError, match="02_training of vgg16, variant hybrid"):
        occlusion.summary(study, PROFILE)


def test_examples_show_a_slice_of_each_class_by_every_way(study):
    shown = occlusion.examples(study, PROFILE)
    assert shown["titles"] == sorted(set(Dataset(study).index["label"])) and shown["images"].shape == shown["masks"].shape == (3, SIZE, SIZE)
    assert list(shown["heatmaps"]) == ["gradcam", *(f"pieces_{way}" for way in occlusion.WAYS)]
    assert all(values.shape == (3, SIZE, SIZE) and 0 <= values.min() <= values.max() <= 1 for values in shown["heatmaps"].values())
    figure = plots.plot_pieces(shown)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes[:5]] == ["slice", "Grad-CAM", "image alone", "network alone", "image and network"]
