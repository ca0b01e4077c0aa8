"""The page's text: nothing of a run's names becomes markup or script."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.commands.report import main
from exrep_hf.report.page import make_page
from exrep_hf.report.page.charts import run_charts
from exrep_hf.report.page.settings import run_settings

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def specs(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_names_are_text(results: dict[str, Any]) -> None:
    """In HTML and within the JSON of charts."""
    harmless = make_page({"run": results}).count("<script")
    results["arms"][EVIL] = results["arms"]["kd"]
    results["differences"] = {name: {"mean": 0.1, "low": None, "high": None} for name in ("kd", EVIL)}
    results["published"]["confusion"] = {EVIL: {EVIL: 1, "b": 2}}
    results["versions"][EVIL], results["command"] = EVIL, EVIL
    page = make_page({EVIL: results})
    assert page.count("<script") == harmless and "<img" not in page.split("<script>")[0]
    assert {row["arm"] for row in specs(page)["run0-differences"]["data"]["values"]} == {"kd", EVIL}


def test_no_address_is_asked(results: dict[str, Any]) -> None:
    """The policy forbids it, and no element names one."""
    page = make_page({"run": results})
    assert not re.search("^//# sourceMappingURL", page, re.MULTILINE)
    # Before the library, in which such words are text.
    page = html.unescape(page.split("<script>")[0])
    assert "default-src 'none'" in page and "unsafe-eval" not in page
    assert not re.search(r"<(?:script|img|iframe)[^>]+src=", page)
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']


def test_curves_are_the_history(results: dict[str, Any]) -> None:
    """Each arm, seed and component; what has a single point is not drawn."""
    charts = run_charts(results, "r")
    assert list(charts) == ["r-curve0", "r-curve1", "r-reliability"]
    values = charts["r-curve1"]["data"]["values"]
    assert len(values) == 8 and values[1] == {"arm": "kd", "seed": "0", "step": 20, "value": 0.05}
    for arm in results["arms"].values():
        for run in arm["runs"]:
            run["history"] = run["history"][:1]
    assert list(run_charts(results, "r")) == ["r-reliability"]


def test_settings_beside_the_preset() -> None:
    """What is as in the preset is not told again."""
    told = run_settings({"training": {"preset": "kd", "ce_weight": 7.5, "max_steps": 3}})
    assert told["preset"] == "kd"
    assert {row[0]: row[1] for row in told["rows"]} == {"ce_weight": "7.5", "max_steps": "3"}


def test_several_runs(results: dict[str, Any]) -> None:
    """Side by side, with the gap against the number of images."""
    more = json.loads(json.dumps(results))
    more["dataset"]["num_public"], more["configuration"]["training"]["kd_weight"] = 200, 3.0
    page = make_page({"100": results, "200": more})
    rows = specs(page)["sizes"]["data"]["values"]
    assert {(row["run"], row["images"]) for row in rows} == {("100", 100), ("200", 200)}
    assert "<td>kd_weight</td><td>2.0</td><td>3.0</td>" in page


def test_not_what_a_run_writes(results: dict[str, Any]) -> None:
    del results["arms"]
    with pytest.raises(ValueError, match="No page can be made of 'run'.*Give the `output_dir` of a finished run"):
        make_page({"run": results})


def test_command(results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run beside its results; several where it is said."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    main([str(tmp_path / "a")])
    assert (tmp_path / "a/report.html").is_file() and "report.html" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Pass `--output FILE.html`"):
        main([str(tmp_path / "a"), str(tmp_path / "b")])
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "both.html")])
    assert "Side by side" in (tmp_path / "both.html").read_text()
    with pytest.raises(ValueError, match="has no results.json"):
        main([str(tmp_path)])
