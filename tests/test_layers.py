"""Modules import from lower layers alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "exrep_hf"
ROOT = Path(__file__).parent.parent
LAYERS = [
    {"finite", "untrusted"},
    {"outputs", "files", "main_process", "command_line", "arguments"},
    {"models", "losses", "data"},
    {"training.terms"},
    {"teacher", "training.objective"},
    {"training"},
    {"evaluation", "report"},
    {"publishing"},
    {"doctor"},
    {"study"},
    {"settings_parser"},
    {"cli"},
    {"commands"},
    {"__main__"},
]
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
# The package's own `__init__`, whose names a user imports, stands above all layers.
LEVELS[""] = len(LAYERS)


def imported_modules(source: str, module: str, is_package: bool) -> set[str]:
    """Full names of what a module imports from its own package, wherever in it the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            parents = parents[: len(parents) + is_package - node.level] if node.level else []
            origin = ".".join([*parents, *filter(None, [node.module])])
            # A name may be a module of the package that it is imported from.
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE}


def modules(root: Path) -> Iterator[tuple[str, bool, str]]:
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if is_package else parts), is_package, path.read_text(encoding="utf-8")


def part_of(module: str) -> str:
    """The room of a module; a part of a room that stands lower than the rest counts as one."""
    parts = module.split(".")[1:3]
    return ".".join(parts) if ".".join(parts) in LEVELS else (parts + [""])[0]


def violations(root: Path) -> list[str]:
    """Imports that go up, sideways, or to a module without a layer; and cycles of modules."""
    sources = {module: (is_package, source) for module, is_package, source in modules(root)}
    faults, graph = [], {}
    for module, (is_package, source) in sources.items():
        graph[module] = imported_modules(source, module, is_package) & (sources.keys() - {module})
        own = part_of(module)
        if own not in LEVELS:
            faults.append(f"{module} has no layer")
            continue
        for name in sorted(graph[module]):
            other = part_of(name)
            if other != own and LEVELS.get(other, -1) >= LEVELS[own]:
                faults.append(f"{module} imports {name}")
    return faults + [f"cycle: {' -> '.join(cycle)}" for cycle in _cycles(graph)]


def _cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for name in sorted(graph[module]):
                visit(name, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def test_package_keeps_its_layers() -> None:
    """An import that goes up is how a package turns into one big module."""
    assert violations(ROOT) == []
    assert len(list(modules(ROOT))) > 30


def test_models_stand_alone() -> None:
    """What `from_pretrained` needs is copied to the Hub as it is, without the rest of the package."""
    count = 0
    for module, is_package, source in modules(ROOT):
        if part_of(module) == "models":
            count += 1
            assert {part_of(name) for name in imported_modules(source, module, is_package)} <= {"models"}, module
            assert f"from {PACKAGE}" not in source and f"import {PACKAGE}" not in source, module
    assert count >= 6


def make_tree(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


GOOD = {
    "__init__.py": "from exrep_hf.training.trainer import fit",
    "outputs.py": "",
    "arguments/model.py": "import os",
    "losses/__init__.py": "from exrep_hf.losses.kd import KD",
    "losses/kd.py": "from exrep_hf.outputs import Output",
    "models/__init__.py": "from .net import Net",
    "models/net.py": "import torch",
    "training/objective.py": "from exrep_hf.losses import KD\nimport exrep_hf.models",
    "training/trainer.py": "from exrep_hf.training.objective import Objective",
}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        (
            {"losses/kd.py": "from exrep_hf.training.trainer import fit"},
            "exrep_hf.losses.kd imports exrep_hf.training.trainer",
        ),
        (
            {"losses/kd.py": "import exrep_hf.training.objective"},
            "exrep_hf.losses.kd imports exrep_hf.training.objective",
        ),
        (
            {"training/objective.py": "from exrep_hf.training.trainer import fit"},
            "exrep_hf.training.objective imports exrep_hf.training.trainer",
        ),
        ({"losses/kd.py": "def f():\n    from exrep_hf import models"}, "exrep_hf.losses.kd imports exrep_hf.models"),
        ({"losses/kd.py": "from ..models.net import Net"}, "exrep_hf.losses.kd imports exrep_hf.models.net"),
        ({"outputs.py": "from .arguments.model import A"}, "exrep_hf.outputs imports exrep_hf.arguments.model"),
        ({"training/trainer.py": "from exrep_hf import losses"}, "exrep_hf.training.trainer imports exrep_hf"),
        ({"helpers.py": ""}, "exrep_hf.helpers has no layer"),
        (
            {"losses/a.py": "from .b import x", "losses/b.py": "from exrep_hf.losses.a import y"},
            "cycle: exrep_hf.losses.a -> exrep_hf.losses.b -> exrep_hf.losses.a",
        ),
    ],
)
def test_the_check_itself(changed: dict[str, str], fault: str | None, tmp_path: Path) -> None:
    """A check of layers that finds nothing in a wrong tree finds nothing in ours."""
    found = violations(make_tree(tmp_path, GOOD | changed))
    assert found == [] if fault is None else fault in found, found
