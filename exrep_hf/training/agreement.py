"""Whether all processes are about to train the same thing."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import TrainingArguments

from exrep_hf.files import as_read_back

_SHOWN = 4

# At other moments one process would wait for the others: to save, to evaluate, to add up what is logged.
_IN_STEP = frozenset(
    {"save_strategy", "save_steps", "save_only_model", "logging_strategy", "logging_steps", "logging_first_step"}
    | {"eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size"}
    | {"per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"}
)


def check_processes_agree(facts: Mapping[str, Any]) -> None:
    """Make sure that a run has the same facts on all processes; call it on all.

    Args:
        facts: of this process, of JSON types; dicts within are compared entry by entry.

    Raises:
        ValueError: on all processes, naming each difference with its values and the processes that have them.
    """
    if PartialState().num_processes == 1:
        return
    of_each = gather_object([_flat(as_read_back(facts))])
    names = sorted(set().union(*of_each))
    differing = [told for name in names if (told := _difference(name, [each.get(name) for each in of_each]))]
    if differing:
        raise ValueError(
            f"The processes would train different things: {'; '.join(differing)}. Give all of them the same images, "
            "teacher, student and settings; what is random in a student (new weights, a new head) is the same after "
            "`transformers.set_seed` with the same number on each."
        )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts, and the entries of those that are dicts, by name."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if not (isinstance(value, dict) and value):
            flat[name.replace("_", " ")] = value
        elif name in ("settings", "moments"):
            flat |= {f"`{part}`": each for part, each in value.items()}
        else:
            flat |= {f"{name.replace('_', ' ')} {part}": each for part, each in value.items()}
    return flat


def _difference(name: str, values: list[Any]) -> str | None:
    """Each value with the processes that have it; None where all are equal."""
    groups: list[tuple[Any, list[int]]] = []
    for rank, value in enumerate(values):
        alike = next((ranks for known, ranks in groups if known == value), None)
        if alike is None:
            groups.append((value, [rank]))
        else:
            alike.append(rank)
    if len(groups) == 1:
        return None
    return f"{name} is " + ", ".join(f"{value} on {_processes(ranks)}" for value, ranks in groups[:_SHOWN])


def _processes(ranks: list[int]) -> str:
    named = ", ".join(map(str, ranks[:_SHOWN]))
    more = f" and {len(ranks) - _SHOWN} more" if len(ranks) > _SHOWN else ""
    return f"process{'es' * (len(ranks) > 1)} {named}{more}"


def settings_in_step(args: TrainingArguments) -> dict[str, Any]:
    """Return the settings by which processes meet, and which no weight depends on."""
    return {name: value for name, value in as_read_back(args.to_dict()).items() if name in _IN_STEP}


def weights_facts(module: nn.Module, state: Mapping[str, Tensor], part: str) -> dict[str, Any]:
    """Return hashes of what a module starts from, and of which of it is trained.

    Args:
        module: before any backend has split it.
        state: its tensors, and those that it keeps beside them.
        part: prefix of the names of a part that counts for itself, such as the student.
    """
    if any(hasattr(parameter, "ds_id") or parameter.is_meta for parameter in module.parameters()):
        # ZeRO-3 has split it while it was loaded, or FSDP loads it on one process alone.
        return {}
    digests = {part: hashlib.sha256(), "": hashlib.sha256()}
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest = digests[part if name.startswith(part) else ""]
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    return {
        "weights_of_the_student": digests[part].hexdigest()[:16],
        "weights_beside_the_student": digests[""].hexdigest()[:16],
        "trained_parameters": hashlib.sha256(" ".join(trained).encode()).hexdigest()[:16],
    }
