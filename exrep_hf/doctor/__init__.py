"""What is looked at before hours are spent: one check a file."""

from exrep_hf.doctor.examine import examine
from exrep_hf.doctor.finding import Finding, Level
from exrep_hf.doctor.page import as_json, as_text, exit_code

__all__ = ["Finding", "Level", "as_json", "as_text", "examine", "exit_code"]
