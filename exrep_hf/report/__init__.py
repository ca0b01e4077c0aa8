"""Results on disk, as text and as pictures."""

from exrep_hf.arguments.public import public_name, public_settings, software_versions, without_places
from exrep_hf.report.arm_words import arms_in_words
from exrep_hf.report.plots import has_curve, plot_losses, plot_residuals
from exrep_hf.report.reliability import plot_reliability
from exrep_hf.report.results import RESULTS_NAME, device_name
from exrep_hf.report.sizes import calibration_table, plot_sizes, sizes_table
from exrep_hf.report.table import (
    align,
    cost_rows,
    oracle_in_words,
    percent,
    points,
    summary_head,
    summary_rows,
    summary_table,
    weak_classes,
)
from exrep_hf.report.verdict import verdict

__all__ = [
    "align",
    "arms_in_words",
    "calibration_table",
    "cost_rows",
    "weak_classes",
    "RESULTS_NAME",
    "device_name",
    "has_curve",
    "oracle_in_words",
    "percent",
    "points",
    "plot_losses",
    "plot_reliability",
    "plot_residuals",
    "plot_sizes",
    "public_name",
    "public_settings",
    "sizes_table",
    "software_versions",
    "summary_head",
    "summary_rows",
    "summary_table",
    "verdict",
    "without_places",
]
