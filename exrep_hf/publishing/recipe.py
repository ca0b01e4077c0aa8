"""The settings of a run as a file that `exrep train --config` takes, and what has to be given beside it."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exrep_hf.arguments.commit import COMMIT
from exrep_hf.data.loading import NAMES, is_on_the_hub
from exrep_hf.files import write_bytes

RECIPE_NAME = "recipe.yaml"
# A setting whose value may name a place; in results others stand behind the first in a setting of their own.
_PLACES = {
    "teacher": "other_teachers",
    "teacher_cache": "other_caches",
    "student": None,
    "dataset": "other_datasets",
    "extra_images": None,
}
_DATASETS = frozenset({"digits", *NAMES})
_LEFT_OUT = frozenset({"preset", "push_to_hub", "dataloader_pin_memory", *(each for each in _PLACES.values() if each)})
_HEAD = """# exrep train {config}
# Settings that are not here are the defaults of exrep_hf{commit}.
"""


@dataclass(frozen=True)
class Recipe:
    """How a run is repeated.

    Attributes:
        settings: what `--config` takes, of plain values.
        flags: what has to be given beside it: names of settings, and placeholders of their values.
        processes: that it ran in.
        commit: of the code; None where it is not known.
    """

    settings: dict[str, Any]
    flags: tuple[tuple[str, str], ...]
    processes: int = 1
    commit: str | None = None

    @property
    def command(self) -> str:
        """The command line, beside the file."""
        train = "exrep train"
        if self.processes > 1:
            train = f"accelerate launch --num_processes {self.processes} -m exrep_hf train"
        return f"{train} {self._flags}"

    @property
    def text(self) -> str:
        """The settings as YAML."""
        return yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True, width=100)

    def write(self, folder: Path) -> None:
        """Write `recipe.yaml`, whole or not at all."""
        head = _HEAD.format(config=self._flags, commit="" if self.commit is None else f" at commit {self.commit}")
        write_bytes((head + self.text).encode(), folder / RECIPE_NAME)

    @property
    def _flags(self) -> str:
        return " ".join([f"--config {RECIPE_NAME}", *(f"--{name} {value}".rstrip() for name, value in self.flags)])


def make_recipe(results: dict[str, Any]) -> Recipe:
    """Return how the run of some results is repeated; places of the machine it ran on are left out.

    Args:
        results: the content of `results.json`.
    """
    parts = results["configuration"]
    given = {name: value for part in parts.values() for name, value in part.items()}
    settings, flags = _objective(results), []
    for name, value in given.items():
        if name in _LEFT_OUT or name.startswith("hub_"):
            continue
        if name in _PLACES:
            several = [value, *given.get(_PLACES[name] or "", [])]
            if all(is_public(name, each) for each in several):
                settings[name] = several if len(several) > 1 else value
            else:
                flags.append((name, " ".join(_placeholder(name, each) for each in several)))
        elif name != "data_dir" or "/" in str(given.get("dataset")):
            settings[name] = value
    # Arms that were left out for their length would be chosen anew, by the speed of another machine.
    main = results["published"]["arm"]
    if distiller := results["arms"][main].get("distiller"):
        # It was a default once, and is none today.
        settings.setdefault("distiller", distiller)
    settings["arm"] = main
    if "controls" not in settings:
        settings["controls"] = [name for name in results["arms"] if name != main] or "none"
    if results.get("license"):
        settings["license"] = results["license"]
    flags.append(("output_dir", "out"))
    terms = {**(given.get("terms") or {})}
    if any(":" in term["class"] and not term["class"].startswith("exrep_hf.") for term in terms.values()):
        flags.append(("allow_code", ""))
    return Recipe(settings, tuple(flags), results.get("processes", 1), code_of(results).get("commit"))


def _objective(results: dict[str, Any]) -> dict[str, Any]:
    """Return the objective in full: its defaults may change, and were others in earlier versions.

    What is chosen for each arm by itself is left to be chosen again, but where no arm had it.
    """
    arms = [arm.get("objective") for arm in results["arms"].values()]
    main = results["arms"][results["published"]["arm"]].get("objective")
    if main is None or not all(arms):
        return {}
    terms = main["terms"]
    told = {f"{name}_weight": terms.get(name, {}).get("weight", 0.0) for name in ("ce", "kd", "crd", "adversarial")}
    if not any("feature" in arm["terms"] for arm in arms):
        told["feature_weight"] = 0.0
    if "kd" in terms:
        told["temperature"] = terms["kd"]["temperature"]
    if "ce" in terms:
        told["label_smoothing_factor"] = terms["ce"]["smoothing"]
    told |= {"mixup": main["mixup"], "cutmix": main["cutmix"]}
    return told if any((arm["mix_rounds"] or 1) > 1 for arm in arms) else told | {"mix_rounds": 1}


def code_of(results: dict[str, Any]) -> dict[str, Any]:
    """Return `commit`, `changed` and `url` of the code that gave some results, as far as they tell."""
    code = dict(results.get("code") or {"commit": results.get("commit")})
    return code if COMMIT.fullmatch(str(code.get("commit"))) else {}


def is_public(setting: str, name: str) -> bool:
    """Return whether others find a model or data set by the name that results give it: the rest is a folder's own."""
    return is_on_the_hub(name) or (setting == "dataset" and name in _DATASETS)


def _placeholder(setting: str, name: str) -> str:
    # On one line: it stands in a comment too.
    name = " ".join(name.split())
    return shlex.quote(name if is_public(setting, name) else f"path/to/{name.rsplit('/', 1)[-1]}")
