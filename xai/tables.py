"""A table of the study as readers should see it: proper names, sensible digits, intervals behind their values, best in bold."""

from __future__ import annotations

from html import escape
from typing import Sequence

import numpy as np
import pandas as pd

from xai.paths import Study, atomic

LESS_IS_BETTER = {"hd95", "deletion", "unsupported", "ece", "through_plane_mm", "in_plane_mm"}
NAMES = {
    "vgg16": "VGG16", "vgg19": "VGG19", "resnet50": "ResNet50", "resnet50v2": "ResNet50V2", "xception": "Xception",
    "inceptionv3": "InceptionV3", "densenet121": "DenseNet121", "efficientnetb0": "EfficientNetB0",
    "inceptionresnetv2": "InceptionResNetV2", "gradcam": "Grad-CAM", "gradcampp": "Grad-CAM++", "scorecam": "Score-CAM",
    "template": "Template", "smollm2": "SmolLM2", "llama": "LLaMA", "grok3": "Grok 3", "mistral": "Mistral",
    "by_patient": "by patient", "by_slice": "by slice", "similarity": "likeness to true labels", "dice": "Dice", "hybrid": "hybrid", "random_walker": "random walker", "grabcut": "GrabCut", "otsu": "Otsu", "cut": "cut alone", "component": "hottest component", "filled": "holes filled", "two_heads": "two unconnected heads", "classification_only": "class head alone", "segmentation_only": "mask head alone",
    "gradcam_dice": "Dice of Grad-CAM", "gradcampp_dice": "Dice of Grad-CAM++", "gradcam_pointing": "pointing game, Grad-CAM",
    "gradcampp_pointing": "pointing game, Grad-CAM++",
    "pieces_image": "image alone", "pieces_network": "network alone", "pieces_both": "image and network", "pieces_best": "drawn tumour (oracle)",
}  # fmt: skip
HEADERS = {
    "architecture": "Network", "f1": "F1", "auc": "AUC", "ece": "Calibration error", "dice": "Dice", "iou": "IoU", "hd95": "HD95 (px)",
    "target_layer": "Target layer", "grid": "Cells a side", "mtld": "MTLD", "ttr": "TTR", "hdd": "HD-D", "flesch": "Flesch Reading Ease",
    "fkgl": "Flesch-Kincaid grade", "aic": "AIC", "sic": "SIC", "n": "Reports", "seconds": "Seconds", "label": "Class",
    "pointing": "Pointing game", "energy": "Energy inside", "threshold": "Rule", "through_plane_mm": "Through plane (mm)",
    "in_plane_mm": "In plane (mm)", "top1": "Top 1", "top3": "Top 3", "accuracy_sd": "Accuracy, sd of seeds",
    "dice_sd": "Dice, sd of seeds", "chosen_by": "Piece chosen by", "gain": "Gained over the image alone",
}  # fmt: skip


def _header(column: str) -> str:
    title = HEADERS.get(column) or NAMES.get(column, column.replace("_", " "))
    return title[:1].upper() + title[1:]


class ShownTable:
    """A table for a notebook or a page, with a paragraph `above` it if there is one; everything in it is escaped."""

    def __init__(self, rows: list[list[str]], bold: set[tuple[int, int]], numeric: list[bool], above: str = "") -> None:
        self.rows, self.bold, self.numeric, self.above = rows, bold, numeric, above

    def _repr_html_(self) -> str:
        header = "".join(f'<th{self._class(c)}>{escape(text)}</th>' for c, text in enumerate(self.rows[0]))
        body = "".join(
            "<tr>" + "".join(f"<td{self._class(c)}>{self._cell(r, c, text)}</td>" for c, text in enumerate(row)) + "</tr>"
            for r, row in enumerate(self.rows[1:])
        )
        above = f'<p class="study-above">{escape(self.above)}</p>' if self.above else ""
        return f'{above}<div class="study-table"><table class="table study"><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>'

    def __repr__(self) -> str:
        widths = [max(len(row[column]) for row in self.rows) for column in range(len(self.rows[0]))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in self.rows]
        return "\n".join([*([self.above] if self.above else []), *lines])

    def _class(self, column: int) -> str:
        return ' class="number"' if self.numeric[column] else ""

    def _cell(self, row: int, column: int, text: str) -> str:
        value, _, interval = text.partition(" [")
        shown = f"<strong>{escape(value)}</strong>" if (row, column) in self.bold else escape(value)
        return shown + (f' <span class="interval">[{escape(interval)}</span>' if interval else "")


def save_table(study: Study, name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Write ``tables/<name>.csv`` of a study and return the table."""
    with atomic(study.table(name)) as temporary:
        table.to_csv(temporary, index=False)
    return table


def show(frame: pd.DataFrame, *, columns: Sequence[str] | None = None, mark: Sequence[str] = (), above: str = "") -> ShownTable:
    """Prepare a table for reading.

    Parameters
    ----------
    frame : DataFrame
        Columns ``x_low`` and ``x_high`` become an interval behind ``x``.
    columns : sequence of str, optional
        Which columns, in order; default all.
    mark : sequence of str
        Columns whose best value is bold, all of them where several are equal as shown.
    above : str
        A paragraph that belongs to the table, such as where it comes from; what a cell prints is shown apart from its tables.
    """
    wanted = [name for name in (columns or frame.columns) if not name.endswith(("_low", "_high"))]
    texts = [[_text(value, name, whole=_whole(frame[name])) for value in frame[name]] for name in wanted]
    bold = set()
    for column, name in enumerate(wanted):
        if name in mark and frame[name].notna().any():
            place = frame[name].argmin() if name in LESS_IS_BETTER else frame[name].argmax()
            best = texts[column][place]
            bold |= {(row, column) for row, text in enumerate(texts[column]) if text == best}
    for column, name in enumerate(wanted):
        if {f"{name}_low", f"{name}_high"} <= set(frame.columns):
            ends = zip(frame[f"{name}_low"], frame[f"{name}_high"])
            texts[column] = [
                text if pd.isna(low) else f"{text} [{_text(low, name)}, {_text(high, name)}]"
                for text, (low, high) in zip(texts[column], ends)
            ]
    headers = [_header(name) for name in wanted]
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in wanted]
    return ShownTable([headers, *map(list, zip(*texts))], bold, numeric, above)


def _whole(column: pd.Series) -> bool:
    """Does a column of numbers hold counts alone? Otherwise 4 is said as 4.0, like its neighbours."""
    numbers = column.dropna()
    return not pd.api.types.is_float_dtype(column) or bool((numbers == numbers.round()).all())


def _text(value, column: str, *, whole: bool = False) -> str:
    """Round to what some hundred slices support: three decimals for shares, one for larger quantities and those with a unit."""
    if isinstance(value, str):
        return NAMES.get(value, value)
    if pd.isna(value):
        return "–"
    if isinstance(value, int) or float(value).is_integer() and (whole or isinstance(value, np.integer)) and abs(value) > 1:
        return f"{int(value):,}".replace(",", "\u202f")
    if column in ("learning_rate",):
        return f"{value:g}"
    share = abs(value) <= 1 and not any(unit in column.split() for unit in ("mm", "%"))
    return f"{round(value, 3) + 0.0:.3f}" if share else f"{round(value, 1) + 0.0:.1f}"  # plus zero: no minus before nothing


MEASURES = {
    "accuracy": "accuracy", "dice": "Dice of the mask head", "loss": "loss", "classification_loss": "loss of the class head",
    "segmentation_loss": "loss of the mask head",
}  # fmt: skip


def kept_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The epoch whose weights were kept: a row for each measure of `MEASURES` that its network has; columns measure, training, validation."""
    kept = history.loc[history["val_score"].idxmax()]
    return pd.DataFrame([{"measure": words, "training": kept[name], "validation": kept[f"val_{name}"]} for name, words in MEASURES.items() if name in kept])
