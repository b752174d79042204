"""The look of the study's figures, and what several of them draw.

The look stands in ``study.mplstyle``; categories take colours of Okabe and Ito (2008), which survive colour blindness,
and a second mark (shape, dash or a label) besides. Nothing here touches pyplot's state, so figures need no closing.
"""

from __future__ import annotations

from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Callable, Sequence

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

import xai
from xai import tables
from xai.paths import METHODS, Study, atomic

STYLE = Path(__file__).parent.with_name("study.mplstyle")
WIDTH = 7.2  # inches
BLUE, ORANGE, GREEN, SKY, PURPLE, AMBER = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#CC79A7", "#E69F00"
GREY, LIGHT, INK = "#767676", "#D5D5D5", "#222222"
OUTLINE = SKY  # the drawn tumour, on grey slices and on the heat colour map alike
LABEL_COLOURS = {"glioma": BLUE, "meningioma": ORANGE, "pituitary": GREEN}
LABEL_MARKERS = {"glioma": "o", "meningioma": "s", "pituitary": "^"}
METHOD_COLOURS = {"gradcam": BLUE, "gradcampp": ORANGE, "scorecam": GREEN}
BASELINE_DASHES = ((0, (1, 1.2)), (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2, 2)), (0, (8, 2)))
HEAT = "inferno"
NAMES = tables.NAMES | {
    "auc": "ROC area", "f1": "F1", "sic": "SIC", "aic": "AIC", "mtld": "MTLD", "ttr": "Type-token ratio",
    "flesch": "Flesch Reading Ease", "fkgl": "Flesch-Kincaid grade", "fact_precision": "Fact precision",
    "fact_recall": "Fact recall", "unsupported": "Unsupported claims", "openai_compatible": "OpenAI-compatible",
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


def ordered_methods(methods) -> list[str]:
    """The three methods first, then whatever baselines there are, in order of appearance."""
    present = list(dict.fromkeys(methods))
    return [m for m in METHODS if m in present] + [m for m in present if m not in METHODS]


def method_colour(method: str) -> str:
    return METHOD_COLOURS.get(method, GREY)


def bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def outline(axes: Axes, mask: np.ndarray, colour: str, *, width: float = 1.4) -> None:
    """Contour of a mask along its pixels' middle edges; an empty or full mask has none."""
    mask = np.asarray(mask, float)
    if 0 < mask.mean() < 1:
        padded = np.pad(mask, 1)  # closes the outline at the image's edge
        ticks = np.arange(-1, len(mask) + 1), np.arange(-1, mask.shape[1] + 1)
        axes.contour(ticks[1], ticks[0], padded, levels=[0.5], colors=[colour], linewidths=width)


def draw_slice(axes: Axes, image: np.ndarray, mask: np.ndarray) -> None:
    axes.imshow(image, vmin=0, vmax=255)
    outline(axes, mask, OUTLINE)
    bare(axes)


def draw_mask(axes: Axes, image: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> None:
    """The slice with a found mask filled, and the drawn tumour as outline."""
    axes.imshow(image, vmin=0, vmax=255)
    fill = np.zeros((*np.shape(mask), 4))
    fill[np.asarray(mask, bool)] = (0.90, 0.62, 0.0, 0.55)
    axes.imshow(fill)
    outline(axes, mask, AMBER, width=1.0)
    outline(axes, truth, OUTLINE)
    bare(axes)


def draw_heat(axes: Axes, image: np.ndarray, heatmap: np.ndarray, mask: np.ndarray) -> None:
    """The heatmap over the slice, opaque from 0.5 on and fading to nothing at 0; NaN shows the slice."""
    value = np.clip(np.nan_to_num(np.asarray(heatmap, float)), 0, 1)[..., None]
    opacity = np.clip(value / 0.5, 0, 1)
    colours = colormaps[HEAT](value[..., 0])[..., :3]
    axes.imshow(opacity * colours + (1 - opacity) * np.asarray(image, float)[..., None] / 255)
    outline(axes, mask, OUTLINE)
    bare(axes)


def heat_bar(figure: Figure, grid: np.ndarray, *, shrink: float) -> None:
    """One colour bar for all heatmaps of a figure, with the fading of `draw_heat` over black."""
    value = np.linspace(0, 1, 256)
    colours = colormaps[HEAT](value)[:, :3] * np.clip(value / 0.5, 0, 1)[:, None]
    bar = ScalarMappable(Normalize(0, 1), ListedColormap(colours))
    figure.colorbar(bar, ax=grid, shrink=shrink, aspect=25, label="heatmap (0-1)")


def spread(values: Sequence[float], *, gap: float) -> list[float]:
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
