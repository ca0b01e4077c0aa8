"""What is looked at before hours are spent: one check a file."""

from exrep_hf.doctor.examine import CHECKS, QUICK, examine, refusal
from exrep_hf.doctor.finding import Finding, Level
from exrep_hf.doctor.hub import check_hub
from exrep_hf.doctor.page import as_json, as_text, exit_code

__all__ = [
    "CHECKS",
    "QUICK",
    "Finding",
    "Level",
    "as_json",
    "as_text",
    "check_hub",
    "examine",
    "exit_code",
    "refusal",
]
