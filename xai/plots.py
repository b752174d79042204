"""Every figure of the book, one function each: arrays or tables in, a matplotlib `Figure` out.

Only `save` writes a file. The functions stand in `xai.plotting`, by chapter.
"""

from xai.plotting.base import BLUE, GREY, HEAT, LIGHT, ORANGE, STYLE, StudyFigure, name_of, save, styled
from xai.plotting.data import (
    plot_class_places,
    plot_intensities,
    plot_masks,
    plot_outliers,
    plot_pairs,
    plot_samples,
    plot_shortcut,
    plot_similarity,
)
from xai.plotting.heatmaps import (
    plot_cam_grid,
    plot_faithfulness,
    plot_mask_steps,
    plot_overlap,
    plot_percentile_curves,
    plot_percentile_examples,
    plot_pieces,
    plot_sanity,
    plot_stability,
)
from xai.plotting.leakage import plot_leakage, plot_leakage_design
from xai.plotting.networks import (
    plot_architecture_scores,
    plot_confusions,
    plot_patients,
    plot_roc_calibration,
    plot_training_curves,
)
from xai.plotting.outcomes import (
    plot_atlas, plot_error_map, plot_interval_width, plot_levels, plot_localisation, plot_places, plot_reports, plot_writers,
)  # fmt: skip
from xai.plotting.own import plot_explained
from xai.plotting.schematics import plot_hybrid, plot_pipeline
from xai.plotting.training import plot_augmentation, plot_gaps, plot_learning_curve, plot_reference, plot_shuffled

__all__ = [
    "BLUE", "GREY", "HEAT", "LIGHT", "ORANGE", "STYLE", "StudyFigure", "name_of", "save", "styled",
    "plot_architecture_scores", "plot_atlas", "plot_cam_grid", "plot_class_places", "plot_confusions", "plot_error_map", "plot_explained",
    "plot_faithfulness", "plot_hybrid", "plot_intensities", "plot_interval_width", "plot_leakage", "plot_leakage_design", "plot_levels", "plot_localisation",
    "plot_mask_steps", "plot_masks", "plot_outliers", "plot_overlap", "plot_pairs", "plot_patients", "plot_percentile_curves", "plot_percentile_examples", "plot_pieces", "plot_pipeline", "plot_places", "plot_reports",
    "plot_roc_calibration", "plot_samples", "plot_sanity", "plot_shortcut", "plot_similarity", "plot_stability", "plot_training_curves",
    "plot_writers", "plot_augmentation", "plot_gaps", "plot_learning_curve", "plot_reference", "plot_shuffled",
]  # fmt: skip
