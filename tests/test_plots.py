"""What the figures draw: the data of lines and marks, outlines, bars and words; and what `save` leaves behind."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from PIL import Image

from xai import plots
from xai.leakage import CONDITIONS, design_example
from xai.metrics.classification import expected_calibration_error, roc_curves
from xai.paths import LABELS, METHODS, PLANES, Study
from xai.plotting.base import LABEL_COLOURS

RNG = np.random.default_rng(0)


def images(count, size=32):
    return RNG.integers(0, 256, (count, size, size), dtype=np.uint8)


def squares(count, size=32):
    masks = np.zeros((count, size, size), np.uint8)
    masks[:, 10:20, 12:24] = 1
    return masks


def outlines(axes):
    return [artist for artist in axes.get_children() if isinstance(artist, ContourSet)]


def shown(axes):
    """The pixels of the first image of a panel, without its mask."""
    return np.asarray(axes.images[0].get_array())


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


def predictions(skill, seed, slices=90):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, slices)
    logits = generator.normal(size=(slices, 3)) + skill * np.eye(3)[truth]
    table = pd.DataFrame(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), columns=[f"prob_{label}" for label in LABELS])
    return table.assign(id=range(slices), label=np.array(LABELS)[truth], patient=np.arange(slices) // 3)


def test_samples_have_a_row_per_class_ordered_by_plane_with_the_tumour_outlined():
    labels, planes = ["glioma", "pituitary", "glioma"], ["sagittal", "axial", "axial"]
    pictures, masks = images(3), squares(3)
    masks[1] = 0
    figure = plots.plot_samples(pictures, masks, labels, planes)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title("left") for axes in drawn] == ["axial", "sagittal", "axial"]
    assert [(axes.images[0].get_array() == pictures[i]).all() for axes, i in zip(drawn, (2, 0, 1))] == [True] * 3
    assert [len(outlines(axes)) for axes in drawn] == [1, 1, 0]  # no tumour, no outline
    assert drawn[0].get_ylabel() == "glioma" and drawn[2].get_ylabel() == "pituitary"


def test_outline_runs_between_tumour_and_background_and_closes_at_the_edge():
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, 3:6, 4:8] = 1  # touches the right edge
    figure = plots.plot_samples(images(1, 8), mask, ["glioma"], ["axial"])
    (contour,) = outlines(figure.axes[0])
    (path,) = contour.get_paths()
    low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
    assert (low == [3.5, 2.5]).all() and (high == [7.5, 5.5]).all()
    assert (path.vertices[0] == path.vertices[-1]).all()


def test_cam_grid_shows_every_method_with_outline_and_one_bar():
    pictures = images(2)
    heatmaps = {method: RNG.random((2, 32, 32)).astype(np.float16) for method in METHODS}
    heatmaps["gradcam"][0] = 0
    heatmaps["gradcam"][1] = 1
    figure = plots.plot_cam_grid(pictures, squares(2), heatmaps, ["one", "two"])
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * 4 and all(len(outlines(axes)) == 1 for axes in panels)
    assert [axes.get_title("left") for axes in panels[:4]] == ["slice", "Grad-CAM", "Grad-CAM++", "Score-CAM"]
    assert [panels[0].get_ylabel(), panels[4].get_ylabel()] == ["one", "two"]
    # a heatmap of 0 leaves the slice as it is, one of 1 shows the end of the colour map
    assert shown(panels[1]) == pytest.approx(np.repeat(pictures[0][..., None] / 255, 3, axis=2))
    assert shown(panels[5])[0, 0] == pytest.approx(matplotlib.colormaps[plots.HEAT](1.0)[:3])
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bar.get_ylim() == (0, 1) and "heatmap" in bar.get_ylabel()


def test_nan_heatmaps_show_the_slice():
    pictures = images(1)
    figure = plots.plot_cam_grid(pictures, squares(1), {"gradcam": np.full((1, 32, 32), np.nan)}, ["one"])
    assert shown(figure.axes[1])[..., 0] == pytest.approx(pictures[0] / 255)


def test_mask_steps_say_their_dice():
    truth = squares(1)[0]
    half = truth.copy()
    half[:, 18:] = 0  # 6 of 12 columns stay
    figure = plots.plot_mask_steps(images(1)[0], RNG.random((32, 32)), {"percentile": half, "grabcut": truth, "none": truth * 0}, truth)
    titles = [axes.get_title("left") for axes in figure.axes if axes.images]
    assert titles[2:] == ["1. percentile\nDice 0.67", "2. GrabCut\nDice 1.00", "3. none\nDice 0.00"]
    fill = figure.axes[2].images[1].get_array()
    assert ((fill[..., 3] > 0) == half.astype(bool)).all()


def test_training_curves_hold_the_history():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "val_loss": [3.0, 1.5, 1.7], "accuracy": [0.4, 0.6, 0.8], "val_accuracy": [0.3, np.nan, 0.7], "val_score": [0.3, 0.9, 0.7]})  # fmt: skip
    figure = plots.plot_training_curves({"vgg16": history, "xception": history.assign(dice=0.5, val_dice=0.4)})
    assert len(figure.axes) == 6
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["loss"].get_ydata().tolist() == [3, 2, 1] and lines["val_loss"].get_ydata().tolist() == [3, 1.5, 1.7]
    assert lines["loss"].get_linestyle() != lines["val_loss"].get_linestyle()
    best = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in best] == [2]
    assert "not trained" in [text.get_text() for text in figure.axes[2].texts]
    assert {line.get_label() for line in figure.axes[5].lines} >= {"dice", "val_dice"}
    assert {"VGG16", "Xception", "training", "validation"} <= set(words(figure))


def test_each_patient_is_a_dot_as_large_as_its_slices_and_both_means_are_drawn():
    table = pd.DataFrame({"label": ["glioma", "glioma", "pituitary"], "slices": [30, 10, 5], "dice": [0.9, 0.1, 0.8], "missed": [0, 8, 0]})
    own, other = plots.plot_patients({"this run": table, "elsewhere": table[:2]}).axes
    glioma, pituitary = (collection for collection in own.collections if isinstance(collection, PathCollection))
    assert sorted(glioma.get_offsets()[:, 1]) == [0.1, 0.9] and pituitary.get_offsets()[0, 1] == 0.8
    assert glioma.get_sizes()[0] == 3 * glioma.get_sizes()[1]
    bars = [collection.get_segments()[0][0, 1] for collection in own.collections if isinstance(collection, LineCollection)]
    assert bars[:2] == pytest.approx([0.7, 0.5])
    assert [axes.get_title("left") for axes in (own, other)] == ["this run", "elsewhere"]
    assert [text.get_text() for text in other.get_xticklabels()] == ["glioma\n2 patients"]


def test_levels_stand_by_plane_and_class_over_the_band_of_the_other_planes():
    rows = [("glioma", "axial", -4.0, 1.0), ("glioma", "axial", 2.0, -3.0), ("pituitary", "axial", 6.0, 2.0), ("pituitary", "coronal", -7.0, 5.0)]
    figure = plots.plot_levels(pd.DataFrame(rows, columns=["label", "plane", "level, mm", "the other two apart, mm"]))
    axial, coronal, sagittal = figure.axes
    dots = [sorted(line.get_ydata()) for line in axial.lines if line.get_marker() == "o"]
    assert dots == [[-4, 2], [6]]
    medians = [collection.get_segments()[0][0, 1] for collection in axial.collections if isinstance(collection, LineCollection)]
    assert medians == [-1, 6]
    assert axial.patches[0].get_height() == 4 and coronal.patches[0].get_height() == 10
    assert [text.get_text() for text in coronal.get_xticklabels()] == ["pituitary"] and not sagittal.get_xticklabels()
    low, high = axial.get_ylim()
    assert low == -high and high > 7


def test_shares_held_stand_by_heads_and_plane_in_their_own_row():
    columns = ["heads", "role", "plane", "own 90 % interval holds the level", "90 % interval holds the level"]
    rows = [("real slices", "held out", "axial", 0.5, 0.8), ("ch2", "held out", "coronal", 1.0, 0.9), ("ch2", "held out", "axial", 0.99, 0.95)]
    figure = plots.plot_interval_width(pd.DataFrame(rows, columns=columns))
    axial, coronal, sagittal = figure.axes
    assert [text.get_text() for text in axial.get_yticklabels()] == ["real slices, held out", "ch2, held out"]
    own, stated = axial.lines
    assert own.get_xydata().tolist() == [[0.5, 0], [0.99, 1]] and stated.get_xydata().tolist() == [[0.8, 0], [0.95, 1]]
    assert coronal.lines[1].get_xydata().tolist() == [[0.9, 1]] and not len(sagittal.lines[0].get_xdata())
    assert axial.patches[0].get_x() == 0.85 and axial.get_xlim()[0] < 0.5 and axial.yaxis_inverted()


def test_confusions_colour_by_share_and_print_counts():
    matrix = np.array([[8, 2, 0], [0, 5, 5], [0, 0, 0]])
    figure = plots.plot_confusions({"vgg16": matrix, "vgg19": matrix.T})
    mesh = figure.axes[0].collections[0]
    assert np.asarray(mesh.get_array()).ravel() == pytest.approx([0.8, 0.2, 0, 0, 0.5, 0.5, 0, 0, 0])
    assert mesh.get_clim() == (0, 1)
    assert [text.get_text() for text in figure.axes[0].texts[:3]] == ["8\n80%", "2\n20%", "0\n0%"]
    assert figure.axes[0].yaxis_inverted()  # the first class on top, as in the table
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bar.get_ylim() == (0, 1)


def test_roc_names_best_and_worst_and_draws_their_curves():
    tables = {"vgg16": predictions(0.3, 1), "xception": predictions(3, 2), "vgg19": predictions(1, 3)}
    figure = plots.plot_roc_calibration(tables)
    macro, classes, reliability, error = figure.axes
    colours = {line.get_label(): line.get_color() for line in macro.lines}
    assert colours["xception"] == plots.BLUE and colours["vgg16"] == plots.ORANGE and colours["vgg19"] == plots.LIGHT
    for label, (x, y, area) in roc_curves(tables["xception"]).items():
        (line,) = [line for line in classes.lines if line.get_label() == label]
        assert (line.get_xdata() == x).all() and (line.get_ydata() == y).all()
        assert f"{label} {area:.3f}" in words(figure)
    expected = sorted((expected_calibration_error(table) for table in tables.values()), reverse=True)
    assert np.asarray(error.collections[0].get_offsets())[:, 0] == pytest.approx(expected)
    only = plots.plot_roc_calibration({"vgg16": predictions(1, 1).assign(label="glioma")})
    assert not [line for line in only.axes[0].lines if line.get_label() == "vgg16"]  # one class has no ROC


def test_percentile_curves_mark_the_best_of_the_mean():
    curves = pd.DataFrame(
        [(a, "gradcam", p, d) for a, row in {"vgg16": (0.1, 0.5, 0.3), "vgg19": (0.3, 0.5, np.nan)}.items() for p, d in zip((80, 90, 95), row)],
        columns=["architecture", "method", "percentile", "dice"],
    )  # fmt: skip
    (axes,) = plots.plot_percentile_curves(curves).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["mean"].get_ydata() == pytest.approx([0.2, 0.5, 0.3])
    assert lines["vgg16"].get_ydata() == pytest.approx([0.1, 0.5, 0.3])
    assert [text.get_text() for text in axes.texts] == ["0.50 at 90"]


def overlap_table():
    rows = [(a, "gradcam", rule, label, value + 0.1 * n, 0.2)
            for n, a in enumerate(("vgg16", "vgg19")) for rule, value in (("fixed", 0.3), ("otsu", 0.2), ("oracle", 0.6))
            for label in (*LABELS, "all")]  # fmt: skip
    rows += [("none", "random", "fixed", label, 0.05, 0.1) for label in (*LABELS, "all")]
    return pd.DataFrame(rows, columns=["architecture", "method", "threshold", "label", "dice", "iou"])


def test_overlap_sets_the_oracle_apart_and_baselines_below():
    figure = plots.plot_overlap(overlap_table())
    assert [axes.get_title("left") for axes in figure.axes] == [*LABELS, "all"]
    axes = figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["Random", "Grad-CAM"]  # bottom to top
    marks = {(c.get_label(), float(np.asarray(c.get_offsets())[0, 1])): c for c in axes.collections if c.get_label() in ("fixed", "otsu", "oracle: upper bound")}
    assert marks["fixed", 1].get_offsets()[0, 0] == pytest.approx(0.35)
    assert marks["otsu", 1].get_offsets()[0, 0] == pytest.approx(0.25)
    assert marks["oracle: upper bound", 1].get_offsets()[0, 0] == pytest.approx(0.65)
    assert to_hex(marks["oracle: upper bound", 1].get_facecolor()[0]) == "#ffffff"
    assert to_hex(marks["fixed", 1].get_facecolor()[0]) != "#ffffff"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fixed", "otsu", "oracle: upper bound"]


def test_faithfulness_sorts_by_area_best_first():
    x = np.linspace(0, 1, 11)
    curves = {"gradcam": {"insertion": (x, x), "deletion": (x, 1 - x)}, "random": {"insertion": (x, x**0), "deletion": (x, x * 0)},
              "scorecam": {"insertion": (x, x * np.nan)}}  # fmt: skip
    figure = plots.plot_faithfulness(curves)
    insertion, deletion = figure.axes
    assert [text.get_text() for text in insertion.get_legend().get_texts()] == ["1.00  Random", "0.50  Grad-CAM"]
    assert [text.get_text() for text in deletion.get_legend().get_texts()] == ["0.00  Random", "0.50  Grad-CAM"]
    lines = {line.get_label(): line for line in insertion.lines}
    assert (lines["gradcam"].get_ydata() == x).all() and lines["gradcam"].get_linestyle() == "-"
    assert lines["random"].get_linestyle() != "-" and lines["random"].get_color() == plots.GREY


def test_sanity_draws_means_and_keeps_labels_apart():
    table = pd.DataFrame(
        [(m, f, s + d) for m in METHODS for f, s in ((0, 1.0), (0.5, 0.4), (1, 0.1)) for d in (-0.05, 0.05)],
        columns=["method", "layer_fraction", "similarity"],
    )
    (axes,) = plots.plot_sanity(table).axes
    lines = {line.get_label(): line for line in axes.lines}
    for method in METHODS:
        assert lines[method].get_ydata() == pytest.approx([1, 0.4, 0.1])
    heights = sorted(text.xy[1] for text in axes.texts)
    assert len(heights) == 3 and min(np.diff(heights)) > 0.05  # three equal ends, three readable labels


def test_atlas_draws_named_regions_and_the_spread_of_places():
    label_map = np.zeros((32, 32), int)
    label_map[4:10, 4:10], label_map[20:26, 4:10] = 7, 9
    figure = plots.plot_atlas(
        images(1)[0], squares(1)[0], RNG.random((32, 32)), label_map, {9: "Insular Cortex", 7: "Precentral Gyrus"},
        np.array([10.0, 6, 8]), np.array([0.25, 0.25, 0.5]), axis_name="z",
    )  # fmt: skip
    slice_axes, template, place = figure.axes
    assert len(outlines(slice_axes)) == 1 and len(outlines(template)) == 3  # two regions and the mask
    assert [text.get_text() for text in template.get_legend().get_texts()] == ["Insular Cortex", "Precentral Gyrus"]
    assert ((template.images[1].get_array()[..., 3] > 0) == (label_map == 9)).all()
    assert place.get_title("left") == "z = 8 mm, standard deviation 1.4 mm"
    (marks,) = place.lines
    assert marks.get_xdata().tolist() == [6, 8, 10] and marks.get_ydata().tolist() == [0.25, 0.5, 0.25]


def explained(atlas=True, **changes):
    heat = {"gradcam": RNG.random((32, 32)), "scorecam": np.zeros((32, 32))}
    label_map = np.zeros((32, 32), int)
    label_map[4:10, 4:10] = 7
    placed = {"template_image": RNG.random((32, 32)), "label_map": label_map, "names": {7: "Insular Cortex"}, "mask": squares(1)[0]}
    masks = {"gradcam": squares(1)[0], "scorecam": squares(1)[0] * 0}
    given = {"segmentation": squares(1)[0] > 0, "probabilities": {"glioma": 0.7, "meningioma": 0.2, "pituitary": 0.1}} | changes
    return plots.plot_explained(images(1)[0], given["segmentation"], heat, masks, "gradcam", given["probabilities"], placed if atlas else None)


def test_a_slice_of_ones_own_shows_both_masks_its_heatmaps_and_the_place():
    slice_axes, gradcam, scorecam, bars, template = explained().axes
    assert [len(outlines(axes)) for axes in (slice_axes, gradcam, scorecam, template)] == [2, 1, 0, 2]
    assert gradcam.get_title("left") == "Grad-CAM (chosen)" and scorecam.get_title("left") == "Score-CAM"
    widths = {label.get_text(): bar.get_width() for label, bar in zip(bars.get_yticklabels(), bars.patches)}
    assert widths == {"glioma": 0.7, "meningioma": 0.2, "pituitary": 0.1} and "70 %" in words(bars.figure)
    assert "not localisable" in words(explained(atlas=False))


def test_localisation_shows_median_and_ninetieth_percentile():
    values = np.arange(11.0)
    table = pd.DataFrame({"plane": "axial", "through_plane_mm": values, "in_plane_mm": values * 2})
    through, within = plots.plot_localisation(table).axes
    assert sorted(through.lines[0].get_ydata()) == values.tolist()
    assert [text.get_text() for text in through.texts] == ["5.0", "9.0"]
    assert [text.get_text() for text in within.texts] == ["10.0", "18.0"]
    assert [text.get_text() for text in through.get_xticklabels()] == ["axial\nn = 11"]


def test_the_map_of_errors_has_a_row_for_each_plane_and_leaves_thin_cells_empty():
    table = pd.DataFrame({"heads": "patients", "plane": ["axial"] * 3 + ["coronal"], "view": ["sagittal", "sagittal", "axial", "axial"], "across": [6.0, 18, 6, 6],
                          "along": [6.0, 6, -6, 6], "points": [50, 3, 40, 60], "mm": [2.0, 9, 4, 30]})  # fmt: skip
    square = [np.array([(-50.0, -50), (50, -50), (50, 50), (-50, -50)])]
    figure = plots.plot_error_map(table, {"sagittal": square, "axial": square}, cell_mm=12)
    assert [len(axes.collections[0].get_paths()) for axes in figure.axes[:4]] == [1, 1, 0, 1]
    first = figure.axes[0].collections[0]
    assert first.get_array().tolist() == [2.0] and first.get_clim() == (0, 15)
    np.testing.assert_allclose(first.get_paths()[0].get_extents().extents, [0, 0, 12, 12])
    assert "patients\ncoronal slices" in words(figure) and "sagittal view" in words(figure)


def test_class_places_lie_where_the_table_says_with_row_zero_on_top():
    table = pd.DataFrame({"label": ["glioma", "pituitary"], "plane": "axial", "row": [5, 20], "column": [7, 16]})
    (axes,) = plots.plot_class_places(table, image_size=32).axes
    marks = {c.get_label(): c.get_offsets() for c in axes.collections}
    assert marks["glioma"].tolist() == [[7, 5]] and marks["pituitary"].tolist() == [[16, 20]] and len(marks["meningioma"]) == 0
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_title("left") == "axial  (1 / 0 / 1 slices)"


def test_architecture_scores_sort_by_accuracy_and_draw_intervals():
    table = pd.DataFrame({"architecture": ["vgg16", "xception"], "accuracy": [0.9, 0.8], "accuracy_low": [0.85, 0.7], "accuracy_high": [0.95, 0.9]})  # fmt: skip
    (axes,) = plots.plot_architecture_scores(table).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Xception", "VGG16"]
    intervals, dots = axes.collections
    assert [segment[:, 0].tolist() for segment in intervals.get_segments()] == [[0.7, 0.9], [0.85, 0.95]]
    assert dots.get_offsets()[:, 0].tolist() == [0.8, 0.9]


def test_writers_that_were_not_run_say_so():
    table = pd.DataFrame({"writer": ["template", "grok3"], "mtld": [50.0, np.nan], "mtld_low": [45.0, np.nan], "mtld_high": [58.0, np.nan]})  # fmt: skip
    (axes,) = plots.plot_writers(table).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Grok 3", "Template"]
    assert axes.lines[0].get_xdata() == [50.0]
    assert axes.collections[0].get_segments()[0][:, 0].tolist() == [45, 58]
    assert [(text.get_text(), text.get_position()[1]) for text in axes.texts] == [("not run", 0)]


def test_reports_are_drawn_word_for_word_and_inside_their_panel():
    hostile = "Cost $5 and $6, <script>alert(1)</script> \x07bell " + "W" * 300 + "\n\n- a_{b} " + "word " * 80
    figure = plots.plot_reports('{\n  "label": "glioma"\n}', "Write only what the findings say.", {"template": hostile, "grok3": None})
    drawn = "".join("".join(words(figure)).split())
    assert "".join(hostile.replace("\x07", "").split()) in drawn
    assert "not run" in words(figure) and "Grok 3" in words(figure)
    for axes in figure.axes:
        panel = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= panel.x0 and box.x1 <= panel.x1 and box.y0 >= panel.y0 - 1, text.get_text()[:40]


def test_long_reports_are_cut_and_say_so():
    figure = plots.plot_reports("{}", "prompt", {"template": "line\n" * 100}, max_lines=10)
    (text,) = [t for t in words(figure) if t.startswith("line")]
    assert text.count("\n") == 9 and text.endswith("[...]")


def test_pipeline_texts_stay_in_their_boxes():
    figure = plots.plot_pipeline()
    (axes,) = figure.axes
    boxes = [p.get_window_extent() for p in axes.patches if isinstance(p, matplotlib.patches.FancyBboxPatch)]
    assert {"MRI slice", "Hybrid network", "Harvard-Oxford", "Findings", "Report"} <= set(words(figure))
    for text in axes.texts:
        box = text.get_window_extent()
        assert any(b.x0 <= box.x0 and box.x1 <= b.x1 and b.y0 <= box.y0 and box.y1 <= b.y1 for b in boxes), text.get_text()


def test_hybrid_names_channels_strides_and_the_target_layer():
    figure = plots.plot_hybrid([("a", 64, 2), ("b", 128, 4), ("last_conv", 512, 32)], (48, 24), image_size=96, target_layer="last_conv")
    said = words(figure)
    assert {"64", "128", "512", "48", "24", "96 x 96", "1/2", "1/4"} <= set(said)
    assert {"1/32", "target layer\nlast_conv"} <= set(said) and any(all(label in text for label in LABELS) for text in said)


def test_hybrid_that_reads_its_class_under_the_mask():
    """Features and mask lead to the class head, and no arrow from the encoder does."""
    features = [("a", 64, 2), ("b", 128, 4), ("last_conv", 512, 32)]
    beside, under = (plots.plot_hybrid(features, (48, 24), image_size=96, target_layer=name) for name in ("last_conv", "evidence"))
    assert {"features", "mask"} <= set(words(under)) and not {"features", "mask"} & set(words(beside))
    assert any(text.startswith("evidence:") for text in words(under)) and any(text.startswith("average pool") for text in words(beside))
    arrows = [sum(isinstance(p, matplotlib.patches.FancyArrowPatch) for p in figure.axes[0].patches) for figure in (beside, under)]
    assert arrows[1] == arrows[0] + 1


def test_samples_and_places_without_known_planes():
    figure = plots.plot_samples(images(3), squares(3), ["glioma", "pituitary", "glioma"], ["unknown", "axial", "axial"])
    assert [axes.get_title("left") for axes in figure.axes if axes.images] == ["axial", "plane unknown", "axial"]
    table = pd.DataFrame({"label": ["glioma", "pituitary"], "plane": "unknown", "row": [5, 20], "column": [7, np.nan]})
    (axes,) = plots.plot_class_places(table, image_size=32, backgrounds={"unknown": np.eye(32)}).axes
    assert axes.get_title("left") == "plane unknown  (1 / 0 / 1 slices)" and (shown(axes) == np.eye(32)).all()


def test_similarity_is_drawn_as_shares_of_slices_with_its_medians():
    nearest = pd.DataFrame({"within": [0.95, 0.97, np.nan, 0.65], "across": [0.45, 0.5, 0.55, 0.75]})
    figure = plots.plot_similarity(nearest, threshold=0.98)
    (axes,) = figure.axes
    across, within = (patch for patch in axes.patches)
    for patch, values in ((across, nearest["across"]), (within, nearest["within"].dropna())):
        x, height = patch.get_xy()[:, 0], patch.get_xy()[:, 1]
        assert height.max() <= 1 and len(values) * height.max() == pytest.approx(1)  # every value in a bin of its own
        assert x.min() == pytest.approx(0.4) and x.max() == pytest.approx(1)
    assert to_hex(within.get_edgecolor()) == plots.BLUE.lower() and to_hex(across.get_edgecolor()) == plots.ORANGE.lower()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "nearest slice of another patient: median 0.53", "nearest other slice of the same patient: median 0.95"
    ]  # fmt: skip
    assert axes.lines[0].get_xdata() == [0.98, 0.98] and "near-duplicates above 0.98" in words(figure)


def test_pairs_stand_side_by_side_under_their_heading():
    pictures = images(8)
    figure = plots.plot_pairs({
        "of one patient": [(pictures[0], pictures[1], "0.99  train"), (pictures[2], pictures[3], "0.98  test")],
        "of two patients": [], "more": [(pictures[n], pictures[n + 1], str(n)) for n in range(4)],
    })  # fmt: skip
    drawn = [axes for axes in figure.axes if axes.images]
    assert [int(np.flatnonzero([(shown(axes) == picture).all() for picture in pictures])[0]) for axes in drawn] == [0, 1, 2, 3, 0, 1, 1, 2, 2, 3]
    assert [axes.get_title("left") for axes in drawn[::2]] == ["0.99  train", "0.98  test", "0", "1", "2"]
    assert {"of one patient", "of two patients", "more", "there is no such pair"} <= set(words(figure))
    left, right = (axes.get_position() for axes in drawn[:2])
    assert left.y0 == pytest.approx(right.y0) and left.x1 <= right.x0


def slice_table(count=180, planes=PLANES):
    draw = np.random.default_rng(4)
    return pd.DataFrame({
        "label": [LABELS[n % 3] for n in range(count)], "plane": [planes[n // 3 % len(planes)] for n in range(count)],
        "split": [("train", "validation", "test")[n // 9 % 3] for n in range(count)], "tissue_mean": draw.normal(70, 9, count),
        "tissue_sd": draw.normal(30, 3, count), "background_percent": draw.uniform(20, 60, count), "contrast_percent": draw.normal(10, 30, count),
        "area_percent": draw.uniform(0.1, 5, count), "extent_percent": draw.uniform(3, 40, count), "in_pieces": draw.random(count) < 0.1,
        "touches_border": False,
    })  # fmt: skip


def test_intensities_have_a_box_per_plane_and_class_and_a_mark_per_split():
    table = slice_table()
    table.loc[table["label"] == "pituitary", "contrast_percent"] = np.nan
    figure = plots.plot_intensities(table)
    assert len(figure.axes) == 4
    for axes, column in zip(figure.axes, ("tissue_mean", "tissue_sd", "background_percent", "contrast_percent")):
        medians = [line for line in axes.lines if line.get_linestyle() == "-" and len(set(line.get_ydata())) == 1 and line.get_lw() == 1.6]
        groups = table.groupby(["plane", "label"])[column].median().dropna()
        assert [line.get_ydata()[0] for line in medians] == pytest.approx(groups.tolist())
        assert [to_hex(line.get_color()) for line in medians] == [to_hex(LABEL_COLOURS[label]) for _, label in groups.index]
        marks = {(line.get_marker(), round(float(line.get_ydata()[0]), 6)) for line in axes.lines if line.get_marker() in "oDv" and line.get_marker()}
        by_split = table.groupby(["split", "plane", "label"])[column].median().dropna()
        assert marks == {({"train": "o", "validation": "D", "test": "v"}[key[0]], round(value, 6)) for key, value in by_split.items()}
        assert [text.get_text() for text in axes.get_xticklabels()] == list(PLANES)
    unknown = plots.plot_intensities(slice_table(planes=["unknown"]))
    assert [text.get_text() for text in unknown.axes[0].get_xticklabels()] == ["plane unknown"]


def test_masks_in_pieces_and_at_the_edge_are_counted():
    table = slice_table()
    area, extent, pieces, edge = plots.plot_masks(table).axes
    assert area.get_yscale() == "log" and extent.get_yscale() == "linear"
    groups = table.groupby(["plane", "label"])["in_pieces"]
    assert [bar.get_height() for bar in pieces.patches] == pytest.approx((100 * groups.mean()).tolist())
    assert [text.get_text() for text in pieces.texts] == [str(count) for count in groups.sum()]
    assert [text.get_text() for text in edge.texts] == ["0"] * 9 and edge.get_ylim()[1] == 5


def test_outliers_show_slice_mask_and_reason_or_that_there_are_none():
    pictures = images(5)
    figure = plots.plot_outliers(pictures, squares(5), [f"s{n}\nmask's longest side far above others" for n in range(5)])
    drawn = [axes for axes in figure.axes if axes.images]
    assert [(shown(axes) == picture).all() for axes, picture in zip(drawn, pictures)] == [True] * 5
    assert all(len(outlines(axes)) == 1 for axes in drawn)
    assert drawn[4].get_title("left") == "s4\nmask's longest side far\nabove others"
    width = figure.bbox.width / 4
    assert all(axes.title.get_window_extent().width <= width and axes._left_title.get_window_extent().width <= width for axes in drawn)
    assert words(plots.plot_outliers(pictures[:0], squares(0), [])) == ["no slice is flagged"]


def shortcut_scores():
    table = pd.DataFrame({"sees": ["nothing", "plane and place"], "classifier": ["most frequent class", "nearest neighbours"]})
    for number, column in enumerate(("accuracy", *LABELS)):
        table[column] = [0.2 + number / 10, 0.5 + number / 10]
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 0.1, table[column] + 0.05
    return table


def test_shortcut_draws_scores_and_intervals_in_the_order_of_the_table():
    figure = plots.plot_shortcut(shortcut_scores())
    assert [axes.get_title("left") for axes in figure.axes] == ["accuracy", *(f"{label} found" for label in LABELS)]
    for number, axes in enumerate(figure.axes):
        intervals, dots = axes.collections
        assert dots.get_offsets().tolist() == pytest.approx(np.array([[0.2 + number / 10, 1], [0.5 + number / 10, 0]]))
        assert [segment[:, 0].tolist() for segment in intervals.get_segments()] == [
            pytest.approx([value - 0.1, value + 0.05]) for value in (0.2 + number / 10, 0.5 + number / 10)
        ]  # fmt: skip
    ticks = {round(place): text.get_text() for place, text in zip(figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels())}
    assert ticks == {1: "sees nothing\nmost frequent class", 0: "sees plane and place\nnearest neighbours"}


def test_leakage_design_deals_as_the_study_does():
    figure = plots.plot_leakage_design(*design_example())
    by_patient, by_slice = figure.axes
    colours = []
    for axes in (by_patient, by_slice):
        squares = [p for p in axes.patches if isinstance(p, matplotlib.patches.FancyBboxPatch)]
        rows = np.array([to_hex(square.get_facecolor()) for square in squares]).reshape(6, 4)
        assert (rows == plots.BLUE.lower()).sum() == 12 and axes.get_title("left").endswith("12 slices train")
        colours.append(rows)
    judged = [rows == plots.ORANGE.lower() for rows in colours]
    assert (judged[0] == judged[1]).all() and judged[0][4:].sum(axis=1).tolist() == [2, 2] and not judged[0][:4].any()
    assert not (colours[0][3:] == plots.BLUE.lower()).any(), "by patient, no test patient trains"
    assert (colours[1][4:] == plots.BLUE.lower()).any(axis=1).all(), "by slice, both do"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trains", "chooses the epoch", "is judged", "left out"]


def leakage_scores():
    rows = [(condition, seed, 0.8 + 0.1 * c + 0.01 * s, 0.6 + 0.1 * c + 0.01 * s) for s, seed in enumerate("12") for c, condition in enumerate(CONDITIONS)]
    table = pd.DataFrame(rows, columns=["condition", "seed", "accuracy", "dice"])
    for measure in ("accuracy", "dice"):
        table[f"{measure}_low"], table[f"{measure}_high"] = table[measure] - 0.05, table[measure] + 0.02
    gap = pd.DataFrame({"measure": ["accuracy", "dice"], "gap": [0.1, -0.02], "gap_low": [0.04, -0.05], "gap_high": [0.15, 0.03]})
    return table, gap


def test_leakage_pairs_the_seeds_and_draws_the_gap():
    table, gap = leakage_scores()
    accuracy, dice, difference = plots.plot_leakage(table.sample(frac=1, random_state=0), gap).axes
    for axes, first in ((accuracy, 0.8), (dice, 0.6)):
        pairs = sorted(line.get_ydata().tolist() for line in axes.lines)
        assert pairs == [pytest.approx([first, first + 0.1]), pytest.approx([first + 0.01, first + 0.11])]
        ends = [segment[:, 1].tolist() for lines in axes.collections[::2] for segment in lines.get_segments()]
        assert sorted(ends)[0] == pytest.approx([first - 0.05, first + 0.02])
        assert [text.get_text() for text in axes.get_xticklabels()] == ["by patient", "by slice"]
    intervals, dots = difference.collections
    assert dots.get_offsets().tolist() == [[0.1, 1], [-0.02, 0]]
    assert [segment[:, 0].tolist() for segment in intervals.get_segments()] == [[0.04, 0.15], [-0.05, 0.03]]
    assert [text.get_text() for text in difference.texts] == ["+0.100\n[+0.040, +0.150]", "\u22120.020\n[\u22120.050, +0.030]"]
    assert difference.get_xlim()[0] == -difference.get_xlim()[1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_training_curves({"vgg16": pd.DataFrame({"epoch": [1], "loss": [1.0], "val_loss": [np.nan]})}),
        lambda: plots.plot_percentile_curves(pd.DataFrame({"architecture": ["a"], "method": ["gradcam"], "percentile": [90], "dice": [np.nan]})),
        lambda: plots.plot_overlap(overlap_table().assign(dice=np.nan)),
        lambda: plots.plot_localisation(pd.DataFrame({"plane": ["axial"], "through_plane_mm": [np.nan], "in_plane_mm": [1.0]})),
        lambda: plots.plot_error_map(pd.DataFrame({"heads": ["a"], "plane": ["axial"], "view": ["axial"], "across": [0.0], "along": [0.0], "points": [1], "mm": [1.0]}), {"axial": [np.eye(2)]}),
        lambda: plots.plot_sanity(pd.DataFrame({"method": ["gradcam"], "layer_fraction": [0.0], "similarity": [np.nan]})),
        lambda: plots.plot_confusions({"vgg16": np.zeros((3, 3), int)}),
        lambda: plots.plot_architecture_scores(pd.DataFrame({"architecture": ["a"], "auc": [np.nan], "auc_low": [np.nan], "auc_high": [np.nan], "accuracy": [0.5], "accuracy_low": [0.5], "accuracy_high": [0.5]})),
        lambda: plots.plot_faithfulness({"gradcam": {"sic": ([0, 1], [np.nan, np.nan])}}),
        lambda: plots.plot_atlas(images(1)[0], squares(1)[0] * 0, np.zeros((16, 16)), np.zeros((16, 16), int), {}, [4.0], [1.0]),
        lambda: explained(atlas=False, segmentation=np.zeros((32, 32), bool)),
        lambda: plots.plot_writers(pd.DataFrame({"writer": ["grok3"], "mtld": [np.nan]})),
        lambda: plots.plot_similarity(pd.DataFrame({"within": [np.nan], "across": [np.nan]}), threshold=0.99),
        lambda: plots.plot_pairs({"a": [], "b": []}),
        lambda: plots.plot_intensities(slice_table(3).assign(contrast_percent=np.nan)),
        lambda: plots.plot_masks(slice_table(3).assign(area_percent=0.0, extent_percent=np.nan)),
        lambda: plots.plot_shortcut(shortcut_scores()[:0]),
        lambda: plots.plot_leakage(leakage_scores()[0].assign(dice=np.nan), leakage_scores()[1].assign(gap=0.0, gap_low=0.0, gap_high=0.0)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_little_or_missing_data_still_makes_a_figure_without_warnings(draw):
    assert draw().axes


def smallest_text(figure):
    return min(t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible())


@pytest.mark.parametrize(
    "draw",
    [
        plots.plot_pipeline,
        lambda: plots.plot_overlap(overlap_table()),
        lambda: plots.plot_roc_calibration({"vgg16": predictions(1, 1)}),
        lambda: plots.plot_cam_grid(images(1), squares(1), {"gradcam": RNG.random((1, 32, 32))}, ["one"]),
        explained,
        lambda: plots.plot_intensities(slice_table()),
        lambda: plots.plot_masks(slice_table()),
        lambda: plots.plot_shortcut(shortcut_scores()),
        lambda: plots.plot_leakage(*leakage_scores()),
        lambda: plots.plot_leakage_design(*design_example()),
    ],
)
def test_text_is_readable_on_a_page_700_pixels_wide(draw):
    figure = draw()
    assert smallest_text(figure) >= 9 and figure.get_figwidth() <= 7.2  # 9 pt is then 12 px


def test_the_style_stays_in_the_figures():
    before = dict(matplotlib.rcParams)
    plots.plot_pipeline()
    assert dict(matplotlib.rcParams) == before


def test_saved_figures_name_their_maker_and_repeat_byte_for_byte(tmp_path):
    study = Study(tmp_path / "quick")
    path = plots.save(plots.plot_pipeline(), study, "pipeline")
    assert path == study.figure("pipeline", "svg")
    first = path.read_bytes()
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    assert b"quick/pipeline" in first and b"xai.plots.plot_pipeline" in first and b"<text" not in first
    plots.save(plots.plot_pipeline(), study, "pipeline")
    assert path.read_bytes() == first
    picture = plots.save(plots.plot_samples(images(1), squares(1), ["glioma"], [PLANES[0]]), study, "samples")
    with Image.open(picture) as opened:
        assert picture.suffix == ".png" and opened.info["Title"] == "quick/samples" and "plot_samples" in opened.info["Description"]
        assert opened.info["dpi"][0] == pytest.approx(200, abs=0.5)
    assert sorted(p.name for p in study.figures.iterdir()) == ["pipeline.svg", "samples.png"]


def test_a_notebook_shows_figures_without_pyplot():
    """In a process of its own: IPython's formatter, no pyplot, SVG for a drawing and PNG for images."""
    code = """
import sys, numpy as np
from IPython.core.formatters import DisplayFormatter
from xai import plots
show = lambda figure: DisplayFormatter().format(figure)[0]
drawing = show(plots.plot_pipeline())
picture = show(plots.plot_samples(np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=np.uint8)[None], ["glioma"], ["axial"]))
assert drawing["image/svg+xml"].lstrip().startswith("<?xml") and "image/png" not in drawing
assert "image/png" in picture and "image/svg+xml" not in picture
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_failing_save_leaves_the_old_file(tmp_path):
    study = Study(tmp_path)
    path = plots.save(plots.plot_pipeline(), study, "pipeline")
    before = path.read_bytes()
    figure = plots.plot_pipeline()
    figure.axes[0].text(0, 0, "$\\broken$")  # cannot be drawn
    with pytest.raises(ValueError):
        plots.save(figure, study, "pipeline")
    assert path.read_bytes() == before and [p.name for p in study.figures.iterdir()] == ["pipeline.svg"]


def test_second_head_gaps_show_which_intervals_hold_zero():
    measures = ["accuracy", "dice", "gradcam_dice", "gradcampp_dice", "gradcam_pointing", "gradcampp_pointing"]
    gaps = pd.DataFrame({"architecture": "vgg16", "against": "classification_only", "measure": measures, "gap": [0.1, -0.1, 0.02, np.nan, 0.0, 0.05],
                         "gap_low": [0.05, -0.2, -0.01, np.nan, -0.1, -0.05], "gap_high": [0.2, -0.05, 0.05, np.nan, 0.1, 0.2]})  # fmt: skip
    [axes] = plots.plot_gaps(gaps).axes
    dots = {round(line.get_ydata()[0]): to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "o"}
    assert dots == {5: plots.BLUE.lower(), 4: plots.ORANGE.lower(), 3: plots.GREY.lower(), 1: plots.GREY.lower(), 0: plots.GREY.lower()}
    [axes] = plots.plot_gaps(pd.concat([gaps, gaps.assign(against="two_heads").iloc[:1]])).axes
    [diamond] = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert 5 < diamond < 5.4
    assert plots.plot_gaps(gaps.iloc[:0]).axes[0].texts[0].get_text() == "no ablation in this profile"


def test_reference_and_own_run_are_told_apart():
    own = pd.DataFrame({"architecture": ["vgg16", "xception"], **{f"{m}{e}": [0.5, 0.75] for m in ("accuracy", "dice") for e in ("", "_low", "_high")}})
    other = own.assign(accuracy=[0.9, 0.8]).iloc[:1]
    figure = plots.plot_reference(own, other, ("mine", "reference"))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["mine"].get_markerfacecolor() != "white" and lines["reference"].get_markerfacecolor() == "white"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Xception", "VGG16"]
    assert lines["reference"].get_xdata()[1] == 0.9 and np.isnan(lines["reference"].get_xdata()[0])
    alone = plots.plot_reference(own, None, ("mine", "reference"))
    assert [line.get_label() for line in alone.axes[0].lines] == ["mine"]


def test_learning_curve_draws_patients_and_intervals():
    table = pd.DataFrame({"patients": [10, 20, 40], **{f"{m}{e}": np.array([0.5, 0.6, 0.7]) + s for m in ("accuracy", "dice") for e, s in (("", 0), ("_low", -0.1), ("_high", 0.1))}})
    figure = plots.plot_learning_curve(table)
    for axes in figure.axes:
        [line] = axes.lines
        assert line.get_xdata().tolist() == [10, 20, 40] and line.get_ydata().tolist() == [0.5, 0.6, 0.7]
        assert axes.collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(0.4)
    assert plots.plot_learning_curve(pd.DataFrame()).axes[0].texts[0].get_text() == "off in this profile"


def test_shuffled_labels_stand_below_true_ones():
    rows = [
        {"variant": variant, "labels": labels, **{f"{m}{e}": value + s for m in ("accuracy", "pointing") for e, s in (("", 0), ("_low", -0.1), ("_high", 0.1))},
         **({} if labels == "true" else {"similarity": value, "similarity_low": value - 0.1, "similarity_high": value + 0.1})}
        for variant, value in (("hybrid", 0.6), ("classification_only", 0.4)) for labels in ("true", "shuffled")
    ]  # fmt: skip
    figure = plots.plot_shuffled(pd.DataFrame(rows))
    accuracy, likeness, _ = figure.axes
    points = [line for line in accuracy.lines if line.get_marker() in "os"]
    assert [line.get_xdata()[0] for line in points] == [0.6, 0.6, 0.4, 0.4]
    assert [round(line.get_ydata()[0]) for line in points] == [1, 0, 1, 0]
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["shuffled", "true"]
    assert np.isnan([line.get_xdata()[0] for line in likeness.lines if line.get_marker() == "o"]).tolist() == [True, False]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hybrid", "class head alone"]
    assert plots.plot_shuffled(pd.DataFrame(columns=["variant", "labels"])).axes[0].texts[0].get_text() == "off in this profile"


def test_augmented_slices_keep_their_outline():
    figure = plots.plot_augmentation(images(6).reshape(2, 3, 32, 32), squares(6).reshape(2, 3, 32, 32))
    assert len(figure.axes) == 6 and all(outlines(axes) for axes in figure.axes)
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["as it is", "augmented", "augmented"]
