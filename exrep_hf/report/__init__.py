"""Results on disk, as text and as pictures."""

from exrep_hf.report.plots import plot_losses, plot_residuals
from exrep_hf.report.results import (
    RESULTS_NAME,
    device_name,
    public_name,
    public_settings,
    software_versions,
    write_json,
)
from exrep_hf.report.sizes import plot_sizes, sizes_table
from exrep_hf.report.table import summary_head, summary_rows, summary_table

__all__ = [
    "RESULTS_NAME",
    "device_name",
    "plot_losses",
    "plot_residuals",
    "plot_sizes",
    "public_name",
    "public_settings",
    "sizes_table",
    "software_versions",
    "summary_head",
    "summary_rows",
    "summary_table",
    "write_json",
]
