"""Settings of the Trainer that would fail late, or train towards nothing, and that it takes as they are."""

from collections.abc import Sequence
from pathlib import Path

from transformers import TrainingArguments

from exrep_hf.arguments.ranges import require, require_number

# Installed or not, transformers does not say so of these.
_NOT_LISTED = ("azure_ml", "flyte")


def check_trainer_settings(args: TrainingArguments) -> None:
    """Make sure that the Trainer's own settings are in their ranges.

    Raises:
        ValueError: naming the setting, what it is, and what was expected.
    """
    require_number("learning_rate", args.learning_rate, 0, optional=True)
    require_number("num_train_epochs", args.num_train_epochs, 0, above=True, optional=True)
    for name in ("weight_decay", "max_grad_norm"):
        require_number(name, getattr(args, name), 0, optional=name == "max_grad_norm")
    require_number("adam_epsilon", args.adam_epsilon, 0, above=True)
    for name in ("adam_beta1", "adam_beta2"):
        value = getattr(args, name)
        require(isinstance(value, int | float) and 0 <= value < 1, name, value, "a number in [0, 1)")
    steps = args.max_steps
    require(isinstance(steps, int) and (steps == -1 or steps >= 1), "max_steps", steps, "≥ 1, or -1: none are given")
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
        require_number(name, getattr(args, name), 1, whole=True)
    for name in ("logging_steps", "eval_steps", "save_steps"):
        # The Trainer's own check of these comes after a teacher was trained.
        require_number(name, getattr(args, name), 0, above=True, optional=name == "eval_steps")
    require_number("save_total_limit", args.save_total_limit, 0, whole=True, optional=True)
    require_number("warmup_steps", args.warmup_steps or 0, 0)
    require_number("seed", args.seed, 0, 2**32 - 1, whole=True)
    require_number("data_seed", args.data_seed, 0, 2**32 - 1, whole=True, optional=True)
    require_number("dataloader_num_workers", args.dataloader_num_workers, 0, whole=True, optional=True)
    if args.output_dir is not None and Path(args.output_dir).expanduser().is_file():
        raise ValueError(f"`output_dir` is {args.output_dir!r}, which is a file; expected a folder, or a new name.")
    _check_trackers(args.report_to)


def _check_trackers(report_to: str | Sequence[str] | None) -> None:
    """Make sure that trackers are installed: a Trainer finds out when it is made, behind data and models."""
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if not set(names) - {"none", "all"}:
        return
    # It imports what `--help` need not.
    from transformers.integrations import integration_utils

    usable = {*integration_utils.get_available_reporting_integrations(), *_NOT_LISTED}
    missing = [name for name in names if name in integration_utils.INTEGRATION_TO_CALLBACK and name not in usable]
    if missing:
        raise ValueError(
            f"`report_to` names {missing[0]!r}, which is not installed. Install it (`pip install {missing[0]}`), or "
            "give `--report_to none`."
        )
