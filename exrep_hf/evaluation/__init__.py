"""What a student is worth and what it costs."""

from exrep_hf.evaluation.cost import count_macs, count_parameters, images_per_second, inference_cost
from exrep_hf.evaluation.gap import data_gap_recovered, gap_recovered, mean_and_deviation, paired_difference

__all__ = [
    "count_macs",
    "count_parameters",
    "data_gap_recovered",
    "gap_recovered",
    "images_per_second",
    "inference_cost",
    "mean_and_deviation",
    "paired_difference",
]
