"""Every figure of the book, one function each: arrays or tables in, a matplotlib `Figure` out.

The look stands in ``study.mplstyle``; categories take colours of Okabe and Ito (2008), which survive colour blindness,
and a second mark (shape, dash or a label) besides. Only `save` writes a file. Nothing here touches pyplot's state, so
figures need no closing.
"""

from __future__ import annotations

import textwrap
import unicodedata
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.textpath import text_to_path

import xai
from xai.metrics.classification import (
    calibration_curve,
    classification_table,
    expected_calibration_error,
    roc_curves,
)
from xai.metrics.overlap import dice
from xai.paths import LABELS, METHODS, PLANES, Study, atomic

STYLE = Path(__file__).with_name("study.mplstyle")
WIDTH = 7.2  # inches
BLUE, ORANGE, GREEN, SKY, PURPLE, AMBER = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#CC79A7", "#E69F00"
GREY, LIGHT, INK = "#767676", "#D5D5D5", "#222222"
OUTLINE = SKY  # the drawn tumour, on grey slices and on the heat colour map alike
LABEL_COLOURS = {"glioma": BLUE, "meningioma": ORANGE, "pituitary": GREEN}
LABEL_MARKERS = {"glioma": "o", "meningioma": "s", "pituitary": "^"}
METHOD_COLOURS = {"gradcam": BLUE, "gradcampp": ORANGE, "scorecam": GREEN}
BASELINE_DASHES = ((0, (1, 1.2)), (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2, 2)), (0, (8, 2)))
HEAT = "inferno"
NAMES = {
    "vgg16": "VGG16", "vgg19": "VGG19", "resnet50": "ResNet50", "resnet50v2": "ResNet50V2", "xception": "Xception",
    "inceptionv3": "InceptionV3", "densenet121": "DenseNet121", "efficientnetb0": "EfficientNetB0",
    "inceptionresnetv2": "InceptionResNetV2", "gradcam": "Grad-CAM", "gradcampp": "Grad-CAM++", "scorecam": "Score-CAM",
    "auc": "ROC area", "f1": "F1", "sic": "SIC", "aic": "AIC", "mtld": "MTLD", "ttr": "Type-token ratio",
    "flesch": "Flesch Reading Ease", "fkgl": "Flesch-Kincaid grade", "fact_precision": "Fact precision",
    "fact_recall": "Fact recall", "unsupported": "Unsupported claims", "smollm2": "SmolLM2", "llama": "LLaMA",
    "grok3": "Grok 3", "openai_compatible": "OpenAI-compatible", "mean_mask": "Mean mask",
}  # fmt: skip


def name_of(key: str) -> str:
    """The name to print for a key of a table."""
    return NAMES.get(key, str(key).replace("_", " ").capitalize())


class StudyFigure(Figure):
    """A figure that a notebook shows as it would be saved, whether or not pyplot was ever imported."""

    drawn_by = "unknown"

    @property
    def raster(self) -> bool:
        """Does it hold images? Then it is a PNG; drawings and charts are SVG."""
        return any(axes.images for axes in self.axes)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str | bytes]:
        buffer = BytesIO()
        with style.context(STYLE):
            self.savefig(buffer, format="png" if self.raster else "svg", metadata={} if self.raster else {"Date": None})
        return {"image/png": buffer.getvalue()} if self.raster else {"image/svg+xml": buffer.getvalue().decode()}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw under the study's style and settle the layout, so that the figure looks the same wherever it is shown."""

    @wraps(draw)
    def wrapper(*arguments, **options) -> Figure:
        with style.context(STYLE):
            figure = draw(*arguments, **options)
            figure.drawn_by = draw.__name__
            figure.draw_without_rendering()  # makes the ticks now; later ones would take another style's sizes
            return figure

    return wrapper


def save(figure: StudyFigure, study: Study, name: str) -> Path:
    """Write a figure into the study, atomically: PNG at 200 dpi where it shows images, else SVG.

    The file says which function drew it, of which study and version; it holds no date, so equal figures are equal files.
    """
    path = study.figure(name, "png" if figure.raster else "svg")
    told = {"Title": f"{study.name}/{name}", "Description": f"drawn by xai.plots.{figure.drawn_by}, xai {xai.__version__}"}
    metadata = told | ({"Software": "matplotlib"} if figure.raster else {"Date": None, "Creator": "matplotlib"})
    with style.context(STYLE), atomic(path) as temporary:
        figure.savefig(temporary, metadata=metadata)
    return path


# Schematics


@styled
def plot_pipeline() -> Figure:
    """F1: the three stages, from slice to report."""
    stages = (
        ("1  See", BLUE, (("MRI slice", "contrast-enhanced T1", _icon_slice),
                          ("Hybrid network", "class and mask,\nnine encoders", _icon_network),
                          ("Heatmap", "three class\nactivation maps", _icon_heatmap))),
        ("2  Place", GREEN, (("Tumour mask", "percentile threshold,\nclean-up", _icon_mask),
                             ("MNI152", "best matching places,\nweighted", _icon_match),
                             ("Harvard-Oxford", "names with\nprobabilities", _icon_atlas))),
        ("3  Tell", ORANGE, (("Findings", "JSON with a schema", _icon_json),
                             ("Writers", "language models,\nsame prompt", _icon_writers),
                             ("Report", "every claim checked", _icon_report))),
    )  # fmt: skip
    figure = StudyFigure(figsize=(WIDTH, 5.1))
    axes = _canvas(figure, 9.0, 6.4)
    for row, (title, colour, boxes) in enumerate(stages):
        top = 6.3 - row * 2.15
        axes.add_patch(_box(0.05, top - 1.85, 8.9, 1.85, colour, alpha=0.08))
        axes.text(0.25, top - 0.92, title, color=colour, fontsize=12, weight="bold", va="center")
        for column, (name, detail, icon) in enumerate(boxes):
            left = 1.55 + column * 2.5
            axes.add_patch(_box(left, top - 1.72, 2.2, 1.59, colour, face="white"))
            icon(axes, left + 1.1, top - 0.52, colour)
            axes.text(left + 1.1, top - 1.05, name, ha="center", va="center", weight="bold")
            axes.text(left + 1.1, top - 1.27, detail, ha="center", va="top", fontsize=9,
                      color="#444444", linespacing=1.1)  # fmt: skip
            if column < 2:
                _arrow(axes, (left + 2.22, top - 0.92), (left + 2.48, top - 0.92), colour)
        if row < 2:
            _arrow(axes, (7.65, top - 1.74), (7.65, top - 2.0), colour, head=True)
            axes.plot([2.65, 7.65], [top - 2.0, top - 2.0], color=colour, lw=1.4)
            _arrow(axes, (2.65, top - 2.0), (2.65, top - 2.26), colour)
    return figure


@styled
def plot_hybrid(
    features: Sequence[tuple[str, int, int]],
    decoder: Sequence[int],
    *,
    image_size: int,
    labels: Sequence[str] = LABELS,
) -> Figure:
    """F3: encoder, classification head, and decoder with its skip connections.

    Parameters
    ----------
    features : sequence of (layer name, channels, stride)
        Encoder layers that feed the decoder, from shallow to deep; the last is the target layer of the heatmaps.
    decoder : sequence of int
        Channels of the decoder's blocks, from deep to shallow; block k joins the k-th deepest feature but one.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.45))
    count = len(features)
    step = 6.6 / max(count, 1)
    axes = _canvas(figure, 10.0, 4.7)
    top, bottom = 3.5, 1.15

    def height(stride: float) -> float:
        return 1.75 / (1 + 0.42 * np.log2(max(stride, 2)))

    def block(x: float, y: float, stride: float, channels: int, colour: str) -> float:
        width = 0.16 + 0.055 * np.log2(channels)
        axes.add_patch(_box(x - width / 2, y - height(stride) / 2, width, height(stride), colour, alpha=0.85))
        return width / 2

    _icon_slice(axes, 0.5, top, GREY, scale=1.7)
    axes.text(0.5, top - 0.6, f"{image_size} x {image_size}", ha="center", va="top", fontsize=9)
    axes.text(0.5, top + 0.68, "Encoder", color=BLUE, weight="bold", ha="center")
    places, previous = [], 1.0
    for number, (name, channels, stride) in enumerate(features):
        x = 1.6 + number * step
        half = block(x, top, stride, channels, BLUE)
        _arrow(axes, (previous, top), (x - half - 0.04, top), GREY)
        previous = x + half + 0.04
        places.append(x)
        target = number == count - 1
        axes.text(x, top + height(stride) / 2 + 0.1, f"{channels}", ha="center", va="bottom", fontsize=9)
        axes.text(x, top - height(stride) / 2 - 0.08, f"1/{stride:.0f}" + (f"\ntarget layer\n{name}" if target else ""),
                  ha="center", va="top", fontsize=9, color=BLUE if target else "#444444", linespacing=1.0)  # fmt: skip
    _arrow(axes, (previous, top), (8.35, top), GREY)
    axes.add_patch(_box(8.38, top - 0.75, 1.57, 1.5, ORANGE, alpha=0.1))
    axes.text(9.16, top + 0.85, "Class head", color=ORANGE, weight="bold", ha="center")
    axes.text(9.16, top, "average pool\nlinear layer\n\n" + "\n".join(labels), ha="center", va="center", fontsize=9, linespacing=1.05)
    axes.text(0.5, bottom - 0.6, "Decoder", color=GREEN, weight="bold", ha="center", va="top")
    joined = list(zip(range(count - 2, -1, -1), decoder)) or [(0, channels) for channels in decoder[:1]]
    previous_x, previous_y = places[-1], top - height(features[-1][2]) / 2 - 0.78
    for order, (number, channels) in enumerate(joined):
        x, stride = places[number], features[number][2]
        half = block(x, bottom, stride, channels, GREEN)
        if order == 0:
            axes.plot([previous_x, previous_x], [previous_y, bottom], color=GREY, lw=1.4)
            previous = previous_x
        _arrow(axes, (previous, bottom), (x + half + 0.04, bottom), GREY)
        _arrow(axes, (x, top - height(stride) / 2 - 0.38), (x, bottom + height(stride) / 2 + 0.28), SKY, dashed=True)
        axes.text(x, bottom + height(stride) / 2 + 0.04, f"{channels}", ha="center", va="bottom", fontsize=9)
        previous = x - half - 0.04
    _arrow(axes, (previous, bottom), (1.02, bottom), GREY)
    _icon_mask(axes, 0.5, bottom, GREEN, scale=1.7)
    axes.text(5.6, 0.02, "numbers: channels   1/n: size of the map   dashed: skip connection",
              ha="center", va="bottom", fontsize=9, color="#444444")  # fmt: skip
    return figure


# Data


@styled
def plot_samples(images: np.ndarray, masks: np.ndarray, labels: Sequence[str], planes: Sequence[str]) -> Figure:
    """F2: slices with the drawn tumour as outline; one row per class, its slices ordered by plane."""
    present = [label for label in LABELS if label in set(labels)]
    rows = {label: sorted(np.flatnonzero(np.asarray(labels) == label), key=lambda i: PLANES.index(planes[i])) for label in present}
    columns = max(len(row) for row in rows.values())
    side = WIDTH / max(columns, 3)
    figure = StudyFigure(figsize=(side * columns, len(present) * (side + 0.22)))
    grid = figure.subplots(len(present), columns, squeeze=False)
    for label, axes_row in zip(present, grid):
        for axes in axes_row[len(rows[label]) :]:
            axes.set_axis_off()
        for axes, number in zip(axes_row, rows[label]):
            _slice(axes, images[number], masks[number])
            axes.set_title(planes[number], fontsize=9, pad=3)
        axes_row[0].set_ylabel(label, color=LABEL_COLOURS[label], weight="bold")
    return figure


@styled
def plot_class_places(
    centroids: pd.DataFrame, *, image_size: int, backgrounds: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Where the tumours of each class lie, by plane: a class that has its own place can be told without being seen.

    Parameters
    ----------
    centroids : DataFrame
        Columns ``label, plane, row, column`` (pixels), one row per slice.
    backgrounds : mapping of plane -> (S, S), optional
        For example the mean slice of a plane, shown faintly.
    """
    planes = [plane for plane in PLANES if plane in set(centroids["plane"])]
    figure = StudyFigure(figsize=(WIDTH, (WIDTH - 1.1) / max(len(planes), 3) + 0.95))
    panels = np.atleast_1d(figure.subplots(1, len(planes)))
    for axes, plane in zip(panels, planes):
        here = centroids[centroids["plane"] == plane]
        if backgrounds is not None and plane in backgrounds:
            picture = np.asarray(backgrounds[plane], float)
            axes.imshow(picture, cmap="gray_r", vmin=picture.min(), vmax=picture.max() * 2.5)
        for label in LABELS:
            spots = here[here["label"] == label]
            axes.scatter(spots["column"], spots["row"], s=16, marker=LABEL_MARKERS[label], color=LABEL_COLOURS[label],
                         alpha=0.55, linewidths=0, label=label)  # fmt: skip
        counts = [f"{(here['label'] == label).sum()}" for label in LABELS]
        axes.set_title(f"{plane}  ({' / '.join(counts)} slices)", fontsize=9)
        axes.set(xlim=(-0.5, image_size - 0.5), ylim=(image_size - 0.5, -0.5), aspect="equal")
        axes.set(xticks=[0, image_size // 2, image_size], yticks=[0, image_size // 2, image_size], xlabel="column (px)")
    panels[0].set_ylabel("row (px)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.5)
    return figure


# Training and classification


@styled
def plot_training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """F4: loss, accuracy and Dice by epoch; a row per architecture, training dashed, validation solid, best epoch dotted."""
    figure = StudyFigure(figsize=(WIDTH, 0.9 + (1.02 if len(histories) > 3 else 1.5) * len(histories)))
    grid = figure.subplots(len(histories), 3, squeeze=False, sharex=True, sharey="col")
    columns = (("loss", GREY), ("accuracy", BLUE), ("dice", GREEN))
    for (architecture, history), row in zip(histories.items(), grid):
        for axes, (column, colour) in zip(row, columns):
            axes.grid(axis="y")
            for key, dashes in ((column, (0, (3, 1.5))), (f"val_{column}", "-")):
                if key in history and history[key].notna().any():
                    marker = "o" if history[key].notna().sum() == 1 else None  # a lone epoch is a point, not a line
                    axes.plot(history["epoch"], history[key], color=colour, linestyle=dashes, marker=marker, lw=1.5, label=key)
            if not axes.lines:
                axes.text(0.5, 0.5, "not trained", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9)
            if "val_score" in history and history["val_score"].notna().any():
                axes.axvline(history.loc[history["val_score"].idxmax(), "epoch"], color=INK, lw=0.8, linestyle=":", zorder=0)
        row[0].annotate(name_of(architecture), (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=9, weight="bold",
                        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1})  # fmt: skip
    losses = pd.concat([h[[c for c in ("loss", "val_loss") if c in h]].stack() for h in histories.values()])
    if len(losses) and (losses > 0).all() and losses.max() > 10 * losses.min():
        grid[0, 0].set_yscale("log")
    for axes, title in zip(grid[0], ("loss", "accuracy", "Dice of the mask head")):
        axes.set_title(title)
    for axes in grid[:, 1:].flat:
        axes.set(ylim=(0, 1.02), yticks=(0, 0.5, 1))
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    marks = [Line2D([], [], color=INK, lw=lw, linestyle=dashes) for lw, dashes in ((1.5, (0, (3, 1.5))), (1.5, "-"), (0.8, ":"))]
    figure.legend(marks, ["training", "validation", "epoch of the least validation loss"], loc="outside lower center", ncols=3)
    return figure


@styled
def plot_confusions(confusions: Mapping[str, np.ndarray], labels: Sequence[str] = LABELS) -> Figure:
    """F5: confusion matrices; colour and percent by true class (row), number of slices above it."""
    columns = min(3, len(confusions))
    rows = -(-len(confusions) // columns)
    figure = StudyFigure(figsize=(1.6 + 1.87 * columns, 0.95 + 2.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = ScalarMappable(Normalize(0, 1), "cividis")
    for axes, (architecture, matrix) in zip(grid.flat, confusions.items()):
        matrix = np.asarray(matrix)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.pcolormesh(share, cmap=colours.cmap, norm=colours.norm, edgecolors="white", linewidth=1.5)
        for (row, column), count in np.ndenumerate(matrix):
            ink = "white" if share[row, column] < 0.5 else "black"
            axes.text(column + 0.5, row + 0.5, f"{count}\n{share[row, column]:.0%}", ha="center", va="center", color=ink, fontsize=9)
        axes.set(aspect="equal", xticks=np.arange(len(labels)) + 0.5, yticks=np.arange(len(labels)) + 0.5)
        axes.invert_yaxis()
        axes.set_title(name_of(architecture))
        axes.set_xticklabels(labels, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticklabels(labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for number, axes in enumerate(grid.flat):
        axes.set_axis_off() if number >= len(confusions) else axes.tick_params(
            labelleft=number % columns == 0, labelbottom=number + columns >= len(confusions)
        )
    figure.supxlabel("predicted class", fontsize=10)
    figure.supylabel("true class", fontsize=10)
    figure.colorbar(colours, ax=grid, shrink=0.8 if rows == 1 else 0.5, aspect=25, label="share of the true class")
    return figure


@styled
def plot_roc_calibration(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    """F6: macro ROC by architecture, ROC by class of the best, reliability, and calibration error.

    The architectures with the largest and smallest macro ROC area are drawn in colour, the rest in grey. The area of a
    reliability dot grows with the share of slices in its bin.
    """
    figure = StudyFigure(figsize=(WIDTH, 6.9))
    (macro, classes), (reliability, error) = figure.subplots(2, 2)
    areas = pd.Series({a: classification_table(p, bootstrap=1)["auc"] for a, p in predictions.items()}).sort_values(na_position="first")
    colour = {name: LIGHT for name in areas.index} | {areas.index[0]: ORANGE, areas.index[-1]: BLUE}
    grid = np.linspace(0, 1, 201)
    for name in areas.index:
        curves = roc_curves(predictions[name])
        order = 2 if colour[name] == LIGHT else 3
        if curves:
            mean = np.mean([np.interp(grid, x, y) for x, y, _ in curves.values()], axis=0)
            macro.plot(np.r_[0, grid], np.r_[0, mean], color=colour[name], zorder=order, label=name)
        bins = calibration_curve(predictions[name]).dropna()
        reliability.plot(bins["confidence"], bins["accuracy"], color=colour[name], zorder=order, lw=1.2, label=name)
        size = 4 + 90 * bins["slices"] / bins["slices"].sum()
        reliability.scatter(bins["confidence"], bins["accuracy"], s=size, color=colour[name], zorder=order)
    for height, name in zip((0.12, 0.22), dict.fromkeys((areas.index[0], areas.index[-1]))):
        macro.text(0.98, height - 0.06, f"{name_of(name)} {areas[name]:.3f}", color=colour[name], ha="right", fontsize=9)
    best = areas.index[-1]
    for height, (label, (x, y, area)) in enumerate(roc_curves(predictions[best]).items()):
        classes.plot(x, y, color=LABEL_COLOURS[label], label=label)
        classes.text(0.98, 0.26 - 0.1 * height, f"{label} {area:.3f}", color=LABEL_COLOURS[label], ha="right", fontsize=9)
    for axes, title in ((macro, "ROC, mean of the classes"), (classes, f"ROC by class, {name_of(best)}"), (reliability, "Reliability")):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, linestyle=":", zorder=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
    reliability.set(xlabel="stated confidence", ylabel="share that is right")
    reliability.text(1.0, 0.04, "overconfident below", ha="right", fontsize=9, color=GREY)
    errors = pd.Series({name: expected_calibration_error(predictions[name]) for name in predictions}).sort_values(ascending=False)
    error.scatter(errors, range(len(errors)), color=[colour[n] if colour[n] != LIGHT else GREY for n in errors.index])
    error.set_yticks(range(len(errors)), [name_of(name) for name in errors.index])
    error.set(xlim=(0, max(0.05, 1.1 * errors.max())), xlabel="expected calibration error", title="Calibration error")
    error.grid(axis="x")
    return figure


@styled
def plot_architecture_scores(scores: pd.DataFrame) -> Figure:
    """Forest plot of ``classification.csv``: each score with its 95 % interval, sorted by accuracy, the best value filled."""
    metrics = [m for m in ("accuracy", "precision", "recall", "f1", "auc") if m in scores]
    table = scores.sort_values("accuracy", na_position="first").reset_index(drop=True)
    figure = StudyFigure(figsize=(WIDTH, 0.9 + 0.3 * len(table)))
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics):
        rows = np.arange(len(table))
        axes.hlines(rows, table[f"{metric}_low"], table[f"{metric}_high"], color=SKY, lw=2.4)
        best = table[metric] == table[metric].max()
        axes.scatter(table[metric], rows, s=26, facecolors=np.where(best, BLUE, "white"), edgecolors=BLUE, zorder=3)
        axes.set_title(name_of(metric), fontsize=9)
        axes.grid(axis="x")
        axes.margins(x=0.08, y=0.06)
        axes.xaxis.get_major_locator().set_params(nbins=3)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, [name_of(name) for name in table["architecture"]])
    figure.supxlabel("score on the test split, 95 % interval over patients", fontsize=9)
    return figure


# Saliency


@styled
def plot_cam_grid(images: np.ndarray, masks: np.ndarray, heatmaps: Mapping[str, np.ndarray], titles: Sequence[str]) -> Figure:
    """F7: a row per slice, a column per method; heatmap over the slice, drawn tumour as outline, one bar for all.

    Below 0.5 the heatmap fades and lets the slice show through; the bar shows the same fading over black.
    """
    columns = 1 + len(heatmaps)
    side = (WIDTH - 1.15) / columns
    figure = StudyFigure(figsize=(WIDTH, len(images) * (side + 0.04) + 0.3))
    grid = figure.subplots(len(images), columns, squeeze=False)
    for number, row in enumerate(grid):
        _slice(row[0], images[number], masks[number])
        row[0].set_ylabel(titles[number])
        for axes, maps in zip(row[1:], heatmaps.values()):
            _heat(axes, images[number], maps[number], masks[number])
    for axes, title in zip(grid[0], ("slice", *map(name_of, heatmaps))):
        axes.set_title(title)
    _heat_bar(figure, grid, shrink=min(1.0, 1.6 / len(images)))
    return figure


@styled
def plot_mask_steps(image: np.ndarray, heatmap: np.ndarray, steps: Mapping[str, np.ndarray], truth: np.ndarray) -> Figure:
    """F8: slice, heatmap, and the mask after each step with its Dice; the drawn tumour as outline throughout."""
    columns = 3
    rows = -(-(2 + len(steps)) // columns)
    side = (WIDTH - 0.95) / columns
    figure = StudyFigure(figsize=(WIDTH, rows * (side + 0.42)))
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = grid.flat
    _slice(panels[0], image, truth)
    panels[0].set_title("slice, drawn tumour")
    _heat(panels[1], image, heatmap, truth)
    panels[1].set_title("heatmap")
    for number, (axes, (name, mask)) in enumerate(zip(panels[2:], steps.items()), 1):
        axes.imshow(image, vmin=0, vmax=255)
        fill = np.zeros((*np.shape(mask), 4))
        fill[np.asarray(mask, bool)] = (0.90, 0.62, 0.0, 0.55)
        axes.imshow(fill)
        _outline(axes, mask, AMBER, width=1.0)
        _outline(axes, truth, OUTLINE)
        _bare(axes)
        axes.set_title(f"{number}. {name}\nDice {dice(mask[None], truth[None])[0]:.2f}")
    for axes in panels[2 + len(steps) :]:
        axes.set_axis_off()
    _heat_bar(figure, grid, shrink=0.7)
    return figure


@styled
def plot_percentile_curves(curves: pd.DataFrame) -> Figure:
    """F9: Dice against the percentile of the threshold; a panel per method, architectures thin, their mean bold."""
    methods = _ordered(curves["method"])
    figure = StudyFigure(figsize=(WIDTH, 2.9))
    panels = np.atleast_1d(figure.subplots(1, len(methods), sharey=True, sharex=True))
    for axes, method in zip(panels, methods):
        table = curves[curves["method"] == method].pivot_table(index="percentile", columns="architecture", values="dice")
        for name in table:
            axes.plot(table.index, table[name], color=LIGHT, lw=1.0, label=name)
        mean = table.mean(axis=1)
        axes.plot(mean.index, mean, color=_colour(method), label="mean", marker="o" if len(mean) == 1 else None)
        if mean.notna().any():
            best = mean.idxmax()
            axes.plot(best, mean[best], "o", color=_colour(method), ms=6)
            axes.annotate(f"{mean[best]:.2f} at {best:g}", (best, mean[best]), xytext=(0, 9), textcoords="offset points",
                          ha="right" if best > np.mean(table.index) else "left", fontsize=9, color=_colour(method))  # fmt: skip
        axes.set_title(name_of(method), color=_colour(method))
        axes.set_xlabel("percentile of the heatmap")
        axes.grid(axis="y")
    panels[0].set_ylim(0, max(0.1, 1.18 * np.nanmax([curves["dice"].max(), 0])))
    panels[0].set_ylabel("Dice")
    return figure


@styled
def plot_overlap(overlap: pd.DataFrame, *, value: str = "dice") -> Figure:
    """Overlap by class, method and threshold rule, mean over architectures.

    The oracle picks its threshold on the very mask it is scored by; it is a hollow mark at the end of a grey bar, an
    upper bound and no result. Baselines stand below the methods, apart.
    """
    rules = {"fixed": ("s", BLUE), "validation": ("o", ORANGE), "adaptive": ("^", GREEN), "otsu": ("v", PURPLE)}
    rules = {rule: mark for rule, mark in rules.items() if rule in set(overlap["threshold"])}
    methods = _ordered(overlap["method"])[::-1]
    labels = [label for label in (*LABELS, "all") if label in set(overlap["label"])]
    figure = StudyFigure(figsize=(WIDTH, 1.25 + 0.36 * len(methods)))
    panels = np.atleast_1d(figure.subplots(1, len(labels), sharey=True, sharex=True))
    mean = overlap.groupby(["label", "method", "threshold"])[value].mean()
    baselines = sum(method not in METHODS for method in methods)
    for axes, label in zip(panels, labels):
        for row, method in enumerate(methods):
            oracle = mean.get((label, method, "oracle"), np.nan)
            others = [mean.get((label, method, rule), np.nan) for rule in rules]
            if np.isfinite(oracle) and np.isfinite(others).any():
                axes.hlines(row, np.nanmax(others), oracle, color=LIGHT, lw=3, zorder=1)
            axes.scatter(oracle, row, marker="D", s=30, facecolors="white", edgecolors=GREY, zorder=2, label="oracle: upper bound")
            for (rule, (marker, colour)), score in zip(rules.items(), others):
                axes.scatter(score, row, marker=marker, s=30, color=colour, zorder=3, alpha=0.85, label=rule)
        if 0 < baselines < len(methods):
            axes.axhline(baselines - 0.5, color=GREY, lw=0.8, linestyle=":")
        axes.set_title(label, color=LABEL_COLOURS.get(label, INK))
        axes.set(xlabel=f"mean {name_of(value)}", ylim=(-0.6, len(methods) - 0.4))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    panels[0].set_xlim(left=0)
    panels[0].set_yticks(range(len(methods)), [name_of(method) for method in methods])
    handles = dict(zip(*panels[0].get_legend_handles_labels()[::-1]))
    order = [*rules, "oracle: upper bound"]
    figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=len(order), handletextpad=0.2)
    return figure


@styled
def plot_faithfulness(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """F13: insertion, deletion, SIC and AIC; methods in colour, baselines grey and dashed, areas beside, best first.

    Parameters
    ----------
    curves : mapping of method -> mapping of curve name -> (x, y)
        Curve names: insertion, deletion, sic, aic. A curve that is NaN throughout is left out.
    """
    told = {
        "insertion": ("Insertion: high is good", "share of pixels shown", "probability of the class"),
        "deletion": ("Deletion: low is good", "share of pixels blackened", "probability of the class"),
        "sic": ("SIC: high is good", "information (0-1)", "normalised probability"),
        "aic": ("AIC: high is good", "information (0-1)", "class still the largest"),
    }
    present = [name for name in told if any(name in of_method for of_method in curves.values())]
    rows = -(-len(present) // 2)
    figure = StudyFigure(figsize=(WIDTH, 0.2 + 2.85 * rows))
    grid = figure.subplots(rows, min(2, len(present)), squeeze=False).flat
    baselines = [method for method in _ordered(curves) if method not in METHODS]
    for axes, name in zip(grid, present):
        areas = {}
        for method in _ordered(curves):
            x, y = (np.asarray(values, float) for values in curves[method].get(name, ([], [])))
            if np.isfinite(y).any():
                dashes = BASELINE_DASHES[baselines.index(method) % len(BASELINE_DASHES)] if method in baselines else "-"
                axes.plot(x, y, color=_colour(method), linestyle=dashes, lw=1.2 if method in baselines else 1.8, label=method,
                          zorder=2 if method in baselines else 3)  # fmt: skip
                areas[method] = np.trapezoid(y, x)
        order = sorted(areas, key=areas.get, reverse=name != "deletion")
        handles = {line.get_label(): line for line in axes.lines}
        axes.legend([handles[m] for m in order], [f"{areas[m]:.2f}  {name_of(m)}" for m in order], loc="upper left",
                    bbox_to_anchor=(1.0, 1.03), handlelength=1.7, borderpad=0, labelspacing=0.35)  # fmt: skip
        title, xlabel, ylabel = told[name]
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel, title=title)
        axes.grid()
    for axes in list(grid)[len(present) :] if len(present) % 2 and len(present) > 1 else []:
        axes.set_axis_off()
    return figure


@styled
def plot_sanity(similarity: pd.DataFrame) -> Figure:
    """F14: likeness of the heatmap as layers are randomised from the output down: mean, and the band of 10 to 90 %.

    Parameters
    ----------
    similarity : DataFrame
        Columns ``method, layer_fraction`` (share of layers with random weights, 0-1), ``similarity``.
    """
    figure = StudyFigure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    ends = {}
    for method in _ordered(similarity["method"]):
        of_method = similarity[similarity["method"] == method].groupby("layer_fraction")["similarity"]
        mean, low, high = of_method.mean(), of_method.quantile(0.1), of_method.quantile(0.9)
        axes.fill_between(mean.index, low, high, color=_colour(method), alpha=0.12, linewidth=0)
        axes.plot(mean.index, mean, "o-", color=_colour(method), label=method)
        if mean.notna().any():
            ends[method] = mean.dropna().iloc[-1]
    low, high = axes.get_ylim()
    axes.set(xlim=(-0.02, 1.02), ylim=(min(low, -0.05), max(high, 1.02)))
    span = axes.get_ylim()[1] - axes.get_ylim()[0]
    for method, height in zip(ends, _spread(list(ends.values()), gap=0.07 * span)):
        axes.annotate(name_of(method), (1.03, height), color=_colour(method), va="center", annotation_clip=False)
    axes.axhline(0, color=GREY, lw=0.8, linestyle=":")
    axes.set_xlabel("share of layers with random weights, from the output down")
    axes.set_ylabel("rank correlation with\nthe trained network's heatmap")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y")
    return figure


# Anatomy


@styled
def plot_atlas(
    image: np.ndarray,
    mask: np.ndarray,
    template_image: np.ndarray,
    label_map: np.ndarray,
    names: Mapping[int, str],
    positions_mm: np.ndarray,
    weights: np.ndarray,
    *,
    axis_name: str = "z",
) -> Figure:
    """F10: the slice, its best match in MNI152 with the named regions, and how sure the place is.

    Parameters
    ----------
    image, mask : array (S, S)
        The slice and the mask that is named.
    template_image, label_map : array (T, T)
        Template and atlas labels (0: none) at the best place; the mask is drawn there too if it has the same shape,
        that is, if both were resampled onto the slice.
    names : mapping of label -> region name
        The regions to show, most probable first.
    positions_mm, weights : array (K,)
        Candidate places along the plane's axis and their weights, which sum to 1.
    """
    figure = StudyFigure(figsize=(WIDTH, 4.1))
    panels = figure.subplot_mosaic([["slice", "template"], ["place", "place"]], height_ratios=[2.4, 1.0])
    _slice(panels["slice"], image, mask)
    panels["slice"].set_title("slice with mask")
    template = panels["template"]
    template.imshow(template_image, vmin=0, vmax=np.nanpercentile(template_image, 99.5))
    colours = (AMBER, PURPLE, GREEN, "#F0E442", ORANGE)
    for number, (label, name) in enumerate(names.items()):
        region = np.asarray(label_map) == label
        colour = colours[number % len(colours)]
        fill = np.zeros((*region.shape, 4))
        fill[region] = (*[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], 0.45)
        template.imshow(fill)
        _outline(template, region, colour, width=0.9)
        template.plot([], [], "s", color=colour, label=textwrap.fill(name, 26))
    if np.shape(mask) == np.shape(template_image):
        _outline(template, mask, OUTLINE)
    _bare(template)
    template.set_title("MNI152 at the best place")
    if names:
        template.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3, borderpad=0)
    order = np.argsort(positions_mm)
    positions, weights = np.asarray(positions_mm, float)[order], np.asarray(weights, float)[order]
    place = panels["place"]
    place.vlines(positions, 0, weights, color=BLUE, lw=2.2)
    place.plot(positions, weights, "o", color=BLUE, ms=4)
    mean = np.average(positions, weights=weights)
    spread = np.sqrt(np.average((positions - mean) ** 2, weights=weights))
    place.axvspan(mean - spread, mean + spread, color=SKY, alpha=0.25, linewidth=0)
    place.set_title(f"{axis_name} = {mean:.0f} mm, standard deviation {spread:.1f} mm", fontsize=9)
    place.set(xlabel=f"MNI {axis_name} of the candidate places (mm)", ylabel="weight", ylim=(0, None))
    place.margins(x=0.1)
    return figure


@styled
def plot_localisation(errors: pd.DataFrame) -> Figure:
    """Distance of the found from the true place by plane: each case a dot, the median a thick bar, the 90th percentile a thin one."""
    planes = [plane for plane in PLANES if plane in set(errors["plane"])]
    figure = StudyFigure(figsize=(WIDTH, 3.3))
    panels = figure.subplots(1, 2)
    generator = np.random.default_rng(0)  # jitter only keeps dots apart
    for axes, column, title in zip(panels, ("through_plane_mm", "in_plane_mm"), ("through the plane", "within the plane")):
        for number, plane in enumerate(planes):
            values = errors.loc[errors["plane"] == plane, column].dropna().abs().to_numpy()
            if not len(values):
                continue
            axes.plot(number + generator.uniform(-0.2, 0.2, len(values)), values, "o", color=SKY, ms=4, alpha=0.6, mew=0)
            median, ninth = np.percentile(values, [50, 90])
            axes.hlines(median, number - 0.32, number + 0.32, color=BLUE, lw=2.4, zorder=3)
            axes.hlines(ninth, number - 0.32, number + 0.32, color=BLUE, lw=1.2, zorder=3)
            for height, text in zip(_spread([median, ninth], gap=0.06 * errors[column].abs().max()), (f"{median:.1f}", f"{ninth:.1f}")):
                axes.text(number + 0.36, height, text, color=BLUE, va="center", fontsize=9)
        counts = [int((errors["plane"] == plane).sum()) for plane in planes]
        axes.set_xticks(range(len(planes)), [f"{plane}\nn = {count}" for plane, count in zip(planes, counts)])
        axes.set(title=title, ylabel="distance (mm)", xlim=(-0.5, len(planes) - 0.2), ylim=(0, None))
        axes.grid(axis="y")
    return figure


# Reports


@styled
def plot_reports(findings: str, prompt: str, reports: Mapping[str, str | None], *, max_lines: int = 44) -> Figure:
    """F11: the findings, an excerpt of the prompt, and what each writer made of them; None reads "not run".

    Texts are drawn as they are: nothing in them is taken for markup.
    """
    panels = [("Findings (JSON)", findings, GREY, True), ("Prompt (excerpt)", prompt, GREY, True)]
    panels += [(name_of(w), text if text else "not run", BLUE if text else GREY, False) for w, text in reports.items()]
    pairs = [panels[number : number + 2] for number in range(0, len(panels), 2)]
    fonts = {mono: FontProperties(family="DejaVu Sans Mono" if mono else "DejaVu Sans", size=9) for mono in (True, False)}
    points = 72 * (WIDTH / 2 - 0.5)  # leaves room for hinting, which widens small text on a screen
    wrapped = [[_wrap(text, points, fonts[mono], max_lines) for _, text, _, mono in pair] for pair in pairs]
    heights = [max(text.count("\n") + 1 for text in texts) * 0.158 + 0.62 for texts in wrapped]
    figure = StudyFigure(figsize=(WIDTH, sum(heights)))
    grid = figure.subplots(len(pairs), 2, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, _, colour, mono), text in zip(grid.flat, panels, (text for texts in wrapped for text in texts)):
        axes.set(xticks=[], yticks=[], ylim=(0, 1), facecolor="#F7F7F7")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.axhline(1, color=colour, lw=4)
        axes.annotate(title, (0, 1), (7, -8), "axes fraction", "offset points", va="top", weight="bold", color=colour)
        body = axes.annotate(text, (0, 1), (7, -28), "axes fraction", "offset points", va="top", parse_math=False,
                             linespacing=1.25, fontproperties=fonts[mono], color=GREY if text == "not run" else INK)  # fmt: skip
        body.set_in_layout(False)  # the panels are sized for the text, not by it
    return figure


@styled
def plot_writers(writers: pd.DataFrame) -> Figure:
    """F12: the writers by each measure, mean and 95 % interval; one that was not run says so."""
    good = {"mtld": "higher: more varied", "ttr": "higher: more varied", "coherence": "higher: more coherent", "flesch": "higher: easier",
            "fkgl": "lower: easier", "fact_precision": "higher: better", "fact_recall": "higher: better", "unsupported": "lower: better"}  # fmt: skip
    metrics = [metric for metric in good if metric in writers]
    table = writers.iloc[::-1].reset_index(drop=True)
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = StudyFigure(figsize=(WIDTH, rows * (0.95 + 0.27 * len(table))))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, metric in zip(grid.flat, metrics):
        for row, line in table.iterrows():
            if pd.isna(line[metric]):
                axes.text(0.5, row, "not run", transform=axes.get_yaxis_transform(), ha="center", va="center", color=GREY, fontsize=9)
                continue
            axes.hlines(row, line.get(f"{metric}_low", np.nan), line.get(f"{metric}_high", np.nan), color=SKY, lw=2.4)
            axes.plot(line[metric], row, "o", color=BLUE)
        axes.set_title(name_of(metric), fontsize=9)
        axes.set_xlabel(good[metric], fontsize=9)
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.xaxis.get_major_locator().set_params(nbins=3)
        axes.tick_params(axis="y", length=0)
    for axes in list(grid.flat)[len(metrics) :]:
        axes.set_axis_off()
    grid[0, 0].set_yticks(range(len(table)), [name_of(writer) for writer in table["writer"]])
    return figure


# Parts


def _ordered(methods) -> list[str]:
    """The three methods first, then whatever baselines there are, in order of appearance."""
    present = list(dict.fromkeys(methods))
    return [m for m in METHODS if m in present] + [m for m in present if m not in METHODS]


def _colour(method: str) -> str:
    return METHOD_COLOURS.get(method, GREY)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, mask: np.ndarray, colour: str, *, width: float = 1.4) -> None:
    """Contour of a mask along its pixels' middle edges; an empty or full mask has none."""
    mask = np.asarray(mask, float)
    if 0 < mask.mean() < 1:
        padded = np.pad(mask, 1)  # closes the outline at the image's edge
        ticks = np.arange(-1, len(mask) + 1), np.arange(-1, mask.shape[1] + 1)
        axes.contour(ticks[1], ticks[0], padded, levels=[0.5], colors=[colour], linewidths=width)


def _slice(axes: Axes, image: np.ndarray, mask: np.ndarray) -> None:
    axes.imshow(image, vmin=0, vmax=255)
    _outline(axes, mask, OUTLINE)
    _bare(axes)


def _heat(axes: Axes, image: np.ndarray, heatmap: np.ndarray, mask: np.ndarray) -> None:
    """The heatmap over the slice, opaque from 0.5 on and fading to nothing at 0; NaN shows the slice."""
    value = np.clip(np.nan_to_num(np.asarray(heatmap, float)), 0, 1)[..., None]
    opacity = np.clip(value / 0.5, 0, 1)
    colours = colormaps[HEAT](value[..., 0])[..., :3]
    axes.imshow(opacity * colours + (1 - opacity) * np.asarray(image, float)[..., None] / 255)
    _outline(axes, mask, OUTLINE)
    _bare(axes)


def _heat_bar(figure: Figure, grid: np.ndarray, *, shrink: float) -> None:
    """One colour bar for all heatmaps of a figure, with the fading of `_heat` over black."""
    value = np.linspace(0, 1, 256)
    colours = colormaps[HEAT](value)[:, :3] * np.clip(value / 0.5, 0, 1)[:, None]
    bar = ScalarMappable(Normalize(0, 1), ListedColormap(colours))
    figure.colorbar(bar, ax=grid, shrink=shrink, aspect=25, label="heatmap (0-1)")


def _spread(values: Sequence[float], *, gap: float) -> list[float]:
    """Move labels as little as needed so that neighbours are at least `gap` apart."""
    order = np.argsort(values, kind="stable")
    placed = np.asarray(values, float)[order]
    for _ in range(200):
        overlap = gap - np.diff(placed)
        if (overlap <= 1e-9).all():
            break
        push = np.where(overlap > 0, overlap, 0) / 2
        placed[:-1] -= push
        placed[1:] += push
    spread = np.empty(len(placed))
    spread[order] = placed
    return spread.tolist()


def _wrap(text: str, points: float, font: FontProperties, max_lines: int) -> str:
    """Wrap to a width in points, keep indentation, cut at `max_lines`, and drop control characters a font cannot show."""
    clean = "".join(c for c in text.expandtabs(2) if c == "\n" or unicodedata.category(c)[0] != "C")
    lines: list[str] = []
    for line in clean.strip("\n").split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines.append(indent)
        for word in line.split():
            longer = lines[-1] + (" " if lines[-1].strip() else "") + word
            if lines[-1].strip() and _text_width(longer, font) > points:
                longer = indent + ("  " if indent else "") + word
                lines.append(longer)
            while _text_width(longer, font) > points and len(longer) > 1:  # one word wider than the panel
                cut = max(1, int(len(longer) * points / _text_width(longer, font)) - 1)
                lines[-1], longer = longer[:cut], longer[cut:]
                lines.append(longer)
            lines[-1] = longer
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], "[...]"]
    return "\n".join(lines)


def _text_width(text: str, font: FontProperties) -> float:
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
    return axes


def _box(x: float, y: float, width: float, height: float, colour: str, *, face: str | None = None, alpha: float = 1.0) -> FancyBboxPatch:
    rounding = min(0.12, width / 6)
    return FancyBboxPatch(
        (x + rounding, y + rounding), width - 2 * rounding, height - 2 * rounding, boxstyle=f"round,pad={rounding}",
        facecolor=face or colour, edgecolor=colour if face else "none", linewidth=1.0, alpha=alpha,
    )  # fmt: skip


def _arrow(axes: Axes, start, end, colour: str, *, dashed: bool = False, head: bool = False) -> None:
    shape = "-" if head else "-|>,head_length=0.35,head_width=0.2"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=shape, mutation_scale=11, color=colour, lw=1.4, shrinkA=0, shrinkB=0,
                                   linestyle=(0, (3, 2)) if dashed else "-"))  # fmt: skip


def _icon_slice(axes: Axes, x: float, y: float, colour: str, scale: float = 1.0) -> None:
    axes.add_patch(Rectangle((x - 0.3 * scale, y - 0.32 * scale), 0.6 * scale, 0.64 * scale, color="black"))
    axes.add_patch(Ellipse((x, y), 0.44 * scale, 0.54 * scale, facecolor="#8C8C8C", edgecolor="#D0D0D0", lw=1.4))
    axes.add_patch(Circle((x + 0.09 * scale, y + 0.08 * scale), 0.08 * scale, color="white"))


def _icon_network(axes: Axes, x: float, y: float, colour: str) -> None:
    for number, height in enumerate((0.62, 0.44, 0.28)):
        axes.add_patch(Rectangle((x - 0.5 + 0.2 * number, y - height / 2), 0.12, height, color=colour))
    for sign in (1, -1):
        _arrow(axes, (x + 0.08, y), (x + 0.38, y + 0.2 * sign), colour)
    axes.add_patch(Circle((x + 0.48, y + 0.2), 0.08, color=ORANGE))
    axes.add_patch(Rectangle((x + 0.4, y - 0.29), 0.16, 0.16, color=GREEN))


def _icon_heatmap(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.add_patch(Rectangle((x - 0.3, y - 0.32), 0.6, 0.64, color=colormaps[HEAT](0.0)))
    for radius, value in ((0.24, 0.3), (0.18, 0.5), (0.12, 0.75), (0.06, 0.97)):
        axes.add_patch(Circle((x + 0.05, y + 0.05), radius, color=colormaps[HEAT](value)))


def _icon_mask(axes: Axes, x: float, y: float, colour: str, scale: float = 1.0) -> None:
    axes.add_patch(Rectangle((x - 0.3 * scale, y - 0.32 * scale), 0.6 * scale, 0.64 * scale, color="black"))
    axes.add_patch(Circle((x + 0.09 * scale, y + 0.08 * scale), 0.09 * scale, color="white"))


def _icon_match(axes: Axes, x: float, y: float, colour: str) -> None:
    for number in range(4):
        face = colour if number == 2 else "white"
        axes.add_patch(Ellipse((x - 0.36 + 0.24 * number, y), 0.3, 0.56, facecolor=face, edgecolor=colour, lw=1.2))


def _icon_atlas(axes: Axes, x: float, y: float, colour: str) -> None:
    brain = Ellipse((x, y), 0.52, 0.62, facecolor="white", edgecolor=colour, lw=1.4)
    axes.add_patch(brain)
    for corner, shade in (((0, 1), AMBER), ((1, 1), PURPLE), ((0, 0), SKY), ((1, 0), GREEN)):
        part = Rectangle((x - 0.3 + 0.3 * corner[0], y - 0.34 + 0.34 * corner[1]), 0.3, 0.34, color=shade, alpha=0.75)
        axes.add_patch(part)
        part.set_clip_path(brain)


def _icon_json(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.text(x, y, "{ : }", color=colour, fontsize=16, weight="bold", family="DejaVu Sans Mono", ha="center", va="center")


def _icon_writers(axes: Axes, x: float, y: float, colour: str) -> None:
    for left, bottom, face in ((x - 0.42, y - 0.1, "white"), (x - 0.1, y - 0.26, colour)):
        axes.add_patch(_box(left, bottom, 0.52, 0.36, colour, face=face))
        axes.add_patch(Polygon([(left + 0.1, bottom + 0.02), (left + 0.2, bottom + 0.02), (left + 0.1, bottom - 0.1)], color=colour))


def _icon_report(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.add_patch(Rectangle((x - 0.24, y - 0.32), 0.48, 0.64, facecolor="white", edgecolor=colour, lw=1.2))
    for number, width in enumerate((0.32, 0.28, 0.32, 0.2)):
        axes.plot([x - 0.16, x - 0.16 + width], [y + 0.2 - 0.13 * number] * 2, color=colour, lw=1.6)
