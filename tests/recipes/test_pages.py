"""The pages beside the recipes: what they name is there, and what an agent reads is short."""

import re
from pathlib import Path

from exrep_hf.__main__ import COMMANDS
from exrep_hf.cli import ARGUMENT_CLASSES, SettingsParser

RECIPES = Path(__file__).parents[2] / "recipes"


def test_the_map_names_every_recipe() -> None:
    """A recipe that stands in no map is found by nobody."""
    page = (RECIPES / "README.md").read_text(encoding="utf-8").split("## Train a student")[0]
    named = set(re.findall(r"[\w/]+\.(?:py|yaml|sbatch)", page))
    there = {path.relative_to(RECIPES).as_posix() for path in [*RECIPES.glob("*.*"), *RECIPES.glob("examples/*.py")]}
    found = {name.removeprefix("recipes/") for name in named}
    assert [name for name in there if name.endswith((".py", ".yaml")) and name not in found] == []
    assert [name for name in found if not (RECIPES / name).exists()] == []
    assert set(re.findall(r"`exrep (\w+)`", page)) == set(COMMANDS)


def test_what_an_agent_reads() -> None:
    """Within a hundred lines, of commands and settings that are there."""
    text = (RECIPES / "SKILL.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    assert set(re.findall(r"exrep (\w+) ", text)) <= set(COMMANDS)
    settings = {flag for action in SettingsParser(ARGUMENT_CLASSES)._actions for flag in action.option_strings}
    others = {"--model", "--split", "--repo_id", "--write_card", "--config", "--json"}
    assert set(re.findall(r"--\w+", text)) <= settings | others
