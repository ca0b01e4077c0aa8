"""The parser of settings, and its two helps: one of two screens, and one that explains everything."""

import argparse
import dataclasses
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool

SHORT_HELP = 120
"""Lines of `--help`: two screens. Where all there is to say is more, it says the first of each."""
_WIDTH = 119
_OF_TRAINER = frozenset(field.name for field in dataclasses.fields(TrainingArguments))
# What is looked for most among the Trainer's settings.
_COMMON = ("output_dir", "max_steps", "resume_from_checkpoint", "push_to_hub", "hub_model_id")
# What hardly anybody sets.
_RARE = frozenset({"logging_nan_inf_filter", "remove_unused_columns", "dataloader_persistent_workers", "crd_kernel"})
_RARE |= {"ddp_find_unused_parameters", "ddp_broadcast_buffers", "critic_hidden_dim", "feature_hidden_dim"}
_RARE |= {"teacher_revision", "teacher_cache_revision", "student_revision"}
_TITLE_OF_TRAINER = "the Trainer's own settings (TrainingArguments of transformers)"


class SettingsParser(HfArgumentParser):
    """Reads dataclasses, and lists each setting once, ours before the Trainer's.

    Args:
        classes: the dataclasses.
        effective: settings to list; all where not given. The others are read all the same: a config may hold them.
        **options: of `argparse.ArgumentParser`.
    """

    def __init__(self, classes: Sequence[Any], effective: frozenset[str] | None = None, **options: Any) -> None:
        super().__init__(list(classes), allow_abbrev=False, formatter_class=_OneNameEach, **options)
        self.effective = effective
        self.in_full = False
        self.add_argument("--help-all", action=_HelpInFull, nargs=0, dest=argparse.SUPPRESS, default=argparse.SUPPRESS)
        for action in self._actions:
            # Of settings that are chosen where they are not given it makes flags that need a value: `--bf16` is one.
            if action.type is string_to_bool and action.nargs is None:
                action.nargs, action.const = "?", True

    def format_help(self) -> str:
        """Return the help: our settings in groups, then the Trainer's; of two screens where not all is asked for."""
        groups = self._groups()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, [])
        formatter.add_text(self.description)
        head = formatter.format_help()
        for title, listed in groups.items():
            formatter.start_section(title)
            formatter.add_arguments(listed)
            formatter.end_section()
        told = formatter.format_help()
        return told if self.in_full or told.count("\n") <= SHORT_HELP else _in_short(head, groups)

    def _groups(self) -> dict[str, list[argparse.Action]]:
        """Return the settings by group, the Trainer's own last."""
        # The first of several for one setting: `--no_x` stands beside `--x`.
        actions = {action.dest: action for action in reversed(self._actions)}
        for name in ("help", argparse.SUPPRESS):
            actions.pop(name, None)
        groups: dict[str, list[argparse.Action]] = {"options": []}
        for cls in self.dataclass_types:
            group = groups.setdefault(getattr(cls, "_argument_group_name", "settings"), [])
            group += [actions.pop(name) for name in _own_fields(cls) if name in actions]
        groups["options"] = [action for name, action in actions.items() if name not in _OF_TRAINER]
        groups[_TITLE_OF_TRAINER] = [action for name, action in sorted(actions.items()) if name in _OF_TRAINER]
        effective = self.effective
        shown = {
            title: [action for action in listed if effective is None or action.dest in effective]
            for title, listed in groups.items()
        }
        return {title: listed for title, listed in shown.items() if listed}


class _HelpInFull(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        parser.in_full = True
        parser.print_help()
        parser.exit()


def _in_short(head: str, groups: dict[str, list[argparse.Action]]) -> str:
    """Return a line for each setting of ours that is not rare, and for the Trainer's that are looked for most."""
    lines = [head.rstrip()]
    for title, listed in groups.items():
        if title == _TITLE_OF_TRAINER:
            title, listed = "of the Trainer's own", [action for action in listed if action.dest in _COMMON]
        listed = [action for action in listed if action.dest not in _RARE]
        lines.append(f"{title}:")
        width = max((len(action.dest) for action in listed), default=0) + 2
        lines += [_line(action, width) for action in listed]
    lines.append(
        "`--help-all` explains each of them, and all settings of the Trainer (TrainingArguments of transformers)."
    )
    return "\n".join(lines) + "\n"


def _line(action: argparse.Action, width: int) -> str:
    words = " ".join((action.help or "").split()).replace("%%", "%")
    told = re.split(r"\.$|\.(?= [A-Z])", words, maxsplit=1)[0]
    return f"  --{action.dest:{width}}{textwrap.shorten(told, _WIDTH - width - 4, placeholder=' …')}"


def _own_fields(cls: Any) -> list[str]:
    """Return the fields that a class, or one of ours that it is made from, declares itself."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("exrep_hf.") or base is cls]
    declared = {name for base in ours for name in base.__dict__.get("__annotations__", {})}
    return [field.name for field in dataclasses.fields(cls) if field.init and field.name in declared]


class _OneNameEach(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows `--a_b` without its twin `--a-b`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        first = argparse.Action(action.option_strings[:1], action.dest, action.nargs, metavar=action.metavar)
        first.choices = action.choices
        return super()._format_action_invocation(first)
