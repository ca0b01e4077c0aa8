"""The page in a real browser."""

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.report.page import write_page

CHROMIUM = shutil.which("chromium")
# Looks at the page from outside: its own policy lets no other script in.
OBSERVER = """<!doctype html><link rel="icon" href="data:,">
<iframe src="report.html" width="390" height="800"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe");
const names = table => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
async function look() {
  const page = frame.contentDocument;
  while (!page.body.dataset.drawn) await new Promise(done => setTimeout(done, 50));
  const table = page.querySelector("table.sorts"), button = table.querySelectorAll("th button")[1];
  const found = {before: names(table)};
  button.click(); found.once = names(table); found.sort = button.parentElement.getAttribute("aria-sort");
  button.click(); found.twice = names(table);
  found.charts = page.querySelectorAll("[data-chart]").length;
  found.drawn = page.querySelectorAll("[data-chart] svg").length;
  found.over = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  document.querySelector("pre").textContent = JSON.stringify(found);
}
frame.addEventListener("load", look);
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *args: Any) -> None:
        self.asked.append(self.path)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    _Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")
def test_it_draws_and_sorts(results: dict[str, Any], tmp_path: Path, address: str) -> None:
    """On a telephone's width: all charts, no message of the console, no other request, rows in order after a click."""
    results["differences"] = {"kd": {"mean": 0.01, "low": 0.0, "high": 0.02}}
    results["published"]["confusion"] = {"3": {"3": 40, "5": 5}}
    write_page({"run": results}, tmp_path / "report.html")
    (tmp_path / "index.html").write_text(OBSERVER)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=60000"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{address}/index.html"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    told = re.search(r"<pre>(.+?)</pre>", done.stdout)
    assert told is not None, done.stderr[-2000:]
    found = json.loads(html.unescape(told[1]))
    assert found["once"] == ["teacher", "exrep", "kd", "student before", "exrep, distiller removed"]
    assert found["sort"] == "descending" and found["twice"] == found["once"][::-1] != found["before"]
    assert found["drawn"] == found["charts"] == 5
    assert found["over"] <= 0
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert sorted(_Handler.asked) == ["/index.html", "/report.html"]
