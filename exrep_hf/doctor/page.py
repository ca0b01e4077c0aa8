"""Findings as a page of text, as JSON, and as an exit code."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from exrep_hf.doctor.finding import Finding

_ORDER = ("waste", "warning", "fine")


def as_text(findings: Sequence[Finding]) -> str:
    """Return a page, the worst first, a remedy below what it is for, a verdict at the end."""
    lines = []
    for level in _ORDER:
        for finding in findings:
            if finding.level == level:
                lines.append(f"{level:8} {finding.what}")
                lines += [f"{'':8} → {finding.remedy}"] if finding.remedy else []
    counts = {level: sum(finding.level == level for finding in findings) for level in _ORDER}
    if counts["waste"]:
        verdict = f"{counts['waste']} of what was found would waste the run"
    else:
        verdict = f"nothing that would waste the run; {counts['warning']} to think about"
    return "\n".join([*lines, "", verdict])


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the same as plain values: `wasted` and `findings`, each with `level`, `what`, `remedy`."""
    return {
        "wasted": bool(exit_code(findings)),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 where something would waste the run, else 0."""
    return int(any(finding.level == "waste" for finding in findings))
