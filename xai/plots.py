"""Every figure of the book, one function each: arrays or tables in, a matplotlib `Figure` out.

Only `save` writes a file. The functions stand in `xai.plotting`, by chapter.
"""

from xai.plotting.base import BLUE, GREY, HEAT, LIGHT, ORANGE, STYLE, StudyFigure, name_of, save, styled
from xai.plotting.heatmaps import (
    plot_cam_grid,
    plot_faithfulness,
    plot_mask_steps,
    plot_overlap,
    plot_percentile_curves,
    plot_sanity,
)
from xai.plotting.networks import (
    plot_architecture_scores,
    plot_class_places,
    plot_confusions,
    plot_roc_calibration,
    plot_samples,
    plot_training_curves,
)
from xai.plotting.outcomes import plot_atlas, plot_localisation, plot_reports, plot_writers
from xai.plotting.schematics import plot_hybrid, plot_pipeline

__all__ = [
    "BLUE", "GREY", "HEAT", "LIGHT", "ORANGE", "STYLE", "StudyFigure", "name_of", "save", "styled",
    "plot_architecture_scores", "plot_atlas", "plot_cam_grid", "plot_class_places", "plot_confusions",
    "plot_faithfulness", "plot_hybrid", "plot_localisation", "plot_mask_steps", "plot_overlap",
    "plot_percentile_curves", "plot_pipeline", "plot_reports", "plot_roc_calibration", "plot_samples",
    "plot_sanity", "plot_training_curves", "plot_writers",
]  # fmt: skip
