"""The comparison with other tools, in miniature: our rows and timm's, which is installed here."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from tests.processes import Processes

BENCHMARKS = Path(__file__).parents[3] / "recipes" / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peers

    return peers


@pytest.fixture
def environments(peers: ModuleType) -> ModuleType:
    import peer_environments

    return peer_environments


def test_a_toy_goes_through_and_on(images: Path, tmp_path: Path, processes: Processes, peers: ModuleType) -> None:
    """Records of our rows and timm's, a tool that is not there says so, and nothing finished is run again."""
    flags = ["--smoke", "--seeds", "3", "--data_dir", str(images), "--work_dir", str(tmp_path / "work")]
    flags += ["--results_dir", str(tmp_path / "peers"), "--python", sys.executable]
    wanted = ["ours:exrep", "timm:logits-mixed", "torchdistill:kd"]
    done = processes.call("recipes/benchmarks/peers.py", *flags, "--only", *wanted)
    assert done.returncode == 0, done.stderr[-3000:]
    records = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "peers").iterdir()}
    assert records.keys() == {"start-3", "ours-exrep-3", "timm-logits-mixed-3", "torchdistill-kd-3"}
    assert records["torchdistill-kd-3"]["said"] == "ModuleNotFoundError: No module named 'torchdistill'"
    for name in ("ours-exrep-3", "timm-logits-mixed-3"):
        record = records[name]
        assert (record["accuracy"] * 40).is_integer() and 0 <= record["accuracy"] <= 1
        assert record["images_per_second"] == pytest.approx(4 * 128 / record["seconds"])
        assert record["images_per_cpu_second"] == pytest.approx(4 * 128 / record["cpu_seconds"])
    assert records["timm-logits-mixed-3"]["task"] == records["start-3"]["task"]
    assert records["start-3"]["task"]["steps"] == 4 and str(tmp_path) not in json.dumps(records)
    rows = {(row["peer"], row["method"]): row for row in json.loads((tmp_path / "peers.json").read_text())["rows"]}
    assert rows["ours", "exrep"]["accuracy"]["mean"] == records["ours-exrep-3"]["accuracy"]
    assert "said: ModuleNotFoundError: No module named 'torchdistill'" in done.stdout

    start = tmp_path / "work" / "smoke" / "task-3" / "student"
    written = tmp_path / "work" / "smoke" / "runs"
    assert len(list((start.parent / "images" / "train").rglob("*.png"))) == 130
    before = AutoModelForImageClassification.from_pretrained(start).state_dict()
    for name in ("ours-exrep-3", "timm-logits-mixed-3"):
        after = load_file(written / name / "weights.safetensors")
        assert after.keys() == before.keys()
        assert (after["classifier.1.weight"] != before["classifier.1.weight"]).any()

    (tmp_path / "peers" / "ours-exrep-3.json").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "peers").iterdir()}
    peers.main([*flags, "--only", "timm:logits-mixed", "torchdistill:kd"])
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "peers").iterdir()} == times
    path = tmp_path / "peers" / "timm-logits-mixed-3.json"
    path.write_text(path.read_text().replace('"steps": 4', '"steps": 5'))
    with pytest.raises(ValueError, match=r"'steps': 5.*'steps': 4.*Give another `--results_dir`"):
        peers.main([*flags, "--only", "timm:logits-mixed"])


def test_lines_of_a_method(peers: ModuleType, tmp_path: Path) -> None:
    """Code between marks: of no method, and of the method; neither empty lines nor comments."""
    script = tmp_path / "tool.py"
    script.write_text(
        "import json\n# user code\nimport tool\n\n# Why.\nx = 1  # note\n# end of user code\nif x:\n"
        "    # user code: one\n    y = (\n        2\n    )\n    # end of user code\n"
        "    # user code: one-more\n    y = 3\n    # end of user code\nprint(y)\n"
    )
    assert peers.user_lines(script, "one") == 5
    assert peers.user_lines(script, "one-more") == 3
    assert peers.user_lines(script, "none") == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# user code\nx = 1\n# user code: one\n", "line 3: '# user code: one' has no partner"),
        ("x = 1\n# end of user code\n", "line 2: '# end of user code' has no partner"),
        ("# user code\nx = 1\n", "1 lines of user code for 'one'; expected some, between marks"),
        ("x = 1\n", "0 lines of user code"),
    ],
)
def test_marks_without_partner(text: str, fault: str, peers: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_text(text)
    with pytest.raises(ValueError, match=fault):
        peers.user_lines(script, "one")


def test_every_method_has_lines(peers: ModuleType) -> None:
    """And ours the fewest: `user code` of all scripts is laid out by one formatter."""
    lines = {
        (peer.name, method): peers.user_lines(BENCHMARKS / "peers" / peer.script, method)
        for peer in peers.PEERS.values()
        for method in peer.methods
    }
    assert min(lines, key=lambda name: lines[name])[0] == "ours", lines
    assert lines["timm", "logits-mixed"] == lines["timm", "logits"] + 3


def test_unknown_tools_are_named(peers: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"`--only` names \['tim'\]; expected some of \['ours', 'ours:exrep'"):
        peers.parse(["--only", "timm", "tim"])


def _record(method: str, seed: int, **more: Any) -> dict[str, Any]:
    return {"peer": "timm", "method": method, "seed": seed, "task": {}, **more}


def test_rows_of_several_seeds(peers: ModuleType) -> None:
    """Mean and deviation over seeds that finished; what was said stands where none did."""
    runs = [
        _record("logits", seed, accuracy=accuracy, images_per_second=speed, images_per_cpu_second=150.0, version="1.0")
        for seed, accuracy, speed in ((1, 0.8, 100.0), (2, 0.9, 300.0))
    ]
    shown = peers.table(peers.summary([*runs, _record("features", 1, said="TypeError: no")])).splitlines()
    count = peers.user_lines(BENCHMARKS / "peers" / "timm_task.py", "logits")
    assert shown[2] == "| start | student before | not run | – | – | – | – |"
    assert shown[5] == f"| timm 1.0 | `LogitDistillationTask`, with labels | 85.0 ± 7.1 | 2 | 200 | 150 | {count} |"
    assert shown[7].startswith("| timm | `FeatureDistillationTask`, with labels | said: TypeError: no | – | – | – |")


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("Traceback\n  File x\nValueError: '/a/b/c.pt' is bad\n\n", "ValueError: 'c.pt' is bad"),
        ("ERROR: none at https://host.example/simple/x (404)", "ERROR: none at … (404)"),
        ("loss 1/2 and a/b", "loss 1/2 and a/b"),
        ("", "nothing"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_last_words_name_no_place(output: str, shown: str, environments: ModuleType) -> None:
    assert environments.last_words(output) == shown


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installer that writes down what it is asked for, and fails for a package of the name `missing`."""
    folder, log = tmp_path / "bin", tmp_path / "asked.txt"
    folder.mkdir()
    program = folder / "uv"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{log}\n'
        'case "$*" in *missing*) echo "no missing at https://h/simple" >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_an_environment_is_made_once(uv: Path, tmp_path: Path, environments: ModuleType) -> None:
    """With the pinned versions; again where these have changed."""
    peer = environments.Peer("tool", "tool.py", {"a": "a"}, ("tool==1.0",))
    for _ in range(2):
        python, said = environments.environment(peer, tmp_path / "envs")
        assert (python, said) == (tmp_path / "envs" / "tool" / "bin" / "python", "")
        (tmp_path / "envs" / "tool").mkdir(exist_ok=True)
    asked = uv.read_text().splitlines()
    assert len(asked) == 2 and asked[0].startswith("venv ") and " tool==1.0 torch " in asked[1]
    assert f"--constraint {environments.CONSTRAINTS}" in asked[1] and environments.CONSTRAINTS.is_file()
    newer = environments.Peer("tool", "tool.py", {"a": "a"}, ("tool==1.1",))
    environments.environment(newer, tmp_path / "envs")
    assert len(uv.read_text().splitlines()) == 4


def test_a_failed_installation_is_told(uv: Path, tmp_path: Path, environments: ModuleType) -> None:
    peer = environments.Peer("tool", "tool.py", {"a": "a"}, ("missing==1.0",))
    assert environments.environment(peer, tmp_path / "envs") == (None, "no missing at …")
    assert not (tmp_path / "envs" / "tool" / "installed.txt").exists()
