"""From the content of `results.json` to the HTML file."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from exrep_hf.files import write_bytes
from exrep_hf.finite import check_figures
from exrep_hf.report.page.charts import comparing_charts, run_charts
from exrep_hf.report.page.settings import differing_settings, run_settings
from exrep_hf.report.page.thumbnails import Disagreements
from exrep_hf.report.table import cost_rows, oracle_in_words, percent, summary_head, summary_rows, weak_classes
from exrep_hf.report.verdict import verdict

PAGE_NAME = "report.html"
_ASSETS = Path(__file__).with_name("assets")
# Vega-Lite: charts are plain JSON, without code; with its interpreter the page needs no `eval`.
_LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")


def write_page(
    runs: Mapping[str, Mapping[str, Any]], path: Path, images: Mapping[str, Disagreements] | None = None
) -> None:
    """Write the page whole or not at all; arguments and errors as of `make_page`."""
    write_bytes(make_page(runs, images).encode(), path)


def make_page(runs: Mapping[str, Mapping[str, Any]], images: Mapping[str, Disagreements] | None = None) -> str:
    """Return a page that shows one run, or several side by side.

    Args:
        runs: the content of each `results.json`, by a name that tells the runs apart.
        images: where teacher and student of a run disagree, for runs of which that is to be shown.

    Returns:
        HTML that holds its charts' library, and whose policy forbids requests and any script but its own.

    Raises:
        ValueError: if one of them is not what a run writes, naming it.
    """
    shown = [_shown(name, results, number) for number, (name, results) in enumerate(runs.items())]
    charts = {key: spec for each in shown for key, spec in each["charts"].items()} | comparing_charts(runs)
    scripts = [_script(name) for name in (*_LIBRARIES, "page.js")]
    sources = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    environment = Environment(loader=FileSystemLoader(_ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["code"] = _with_code
    return environment.get_template("page.html").render(
        title=", ".join(runs),
        policy=f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:",
        style=Markup((_ASSETS / "page.css").read_text(encoding="utf-8")),
        runs=shown,
        images=images or {},
        compared=_compared(runs) if len(runs) > 1 else None,
        charts=charts,
        specs=Markup(_json(charts)),
        scripts=[Markup(script) for script in scripts],
    )


def _shown(name: str, results: Mapping[str, Any], number: int) -> dict[str, Any]:
    try:
        # As it is in JSON, which a page can't hold otherwise.
        check_figures(dict(results), f"The page of {name!r}")
        data = dict(results)
        return {
            "name": name,
            "key": f"run{number}",
            "verdict": verdict(data),
            "dataset": data["dataset"],
            "seeds": data["seeds"],
            "teacher": data["teacher"] and data["teacher"]["name"],
            "student": data["student"]["name"],
            "published": data["published"],
            "head": summary_head(data),
            "rows": summary_rows(data),
            "oracle": oracle_in_words(data),
            "left_out": data.get("controls_left_out") or {},
            "weak": weak_classes(data["published"]),
            "costs": cost_rows(data),
            "device": data["device"],
            "seconds": data["wall_time_seconds"],
            "settings": run_settings(data["configuration"]),
            "command": data["command"],
            "versions": data["versions"],
            "charts": run_charts(data, f"run{number}"),
        }
    # What others wrote may lack anything.
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"No page can be made of {name!r}: its results.json is not what a run writes ({error!r:.300}). Give the "
            "`output_dir` of a finished run."
        ) from error


def _compared(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return tables with a column for each run: what its arms reach, and the settings that differ."""
    arms = dict.fromkeys(arm for results in runs.values() for arm in results["arms"])
    rows = [
        (arm, *(percent(results["arms"].get(arm, {}).get("accuracy")) for results in runs.values())) for arm in arms
    ]
    before = ("student before", *(percent(results["student"]["accuracy"]) for results in runs.values()))
    public = ("public images", *(str(results["dataset"]["num_public"]) for results in runs.values()))
    return {
        "names": list(runs),
        "head": ["", *runs],
        "rows": [public, before, *rows],
        "settings": differing_settings(runs),
    }


def _script(name: str) -> str:
    lines = (_ASSETS / name).read_text(encoding="utf-8").splitlines()
    # Developers' tools would look for maps of the sources.
    return "\n".join(line for line in lines if not line.startswith("//# sourceMappingURL="))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(content: Any) -> str:
    """Return JSON for a script element, which no name in it can end."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _with_code(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    parts[1::2] = [Markup("<code>") + part + Markup("</code>") for part in parts[1::2]]
    return Markup("").join(parts)
