"""What a run has to share with the one that it goes on from: the one rule, for checkpoints and for studies."""

import logging
from typing import Any

from transformers import TrainingArguments

from exrep_hf.files import as_read_back

logger = logging.getLogger(__name__)

SETTINGS = "settings"
"""The entry of a run's facts that holds its settings of training."""

OF_NO_EFFECT = frozenset(
    {"check_images", "logging_steps", "logging_first_step", "logging_strategy", "logging_nan_inf_filter", "log_level"}
    | {"log_level_replica", "log_on_each_node", "disable_tqdm", "report_to", "run_name", "project", "debug"}
    | {"trackio_bucket_id", "trackio_space_id", "trackio_static_space_id", "include_num_input_tokens_seen"}
    | {"save_strategy", "save_steps", "save_total_limit", "save_on_each_node", "save_only_model", "output_dir"}
    | {"enable_jit_checkpoint", "resume_from_checkpoint", "restore_callback_states_from_checkpoint"}
    | {"push_to_hub", "hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy"}
    | {"hub_token", "do_train", "do_eval", "do_predict", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start"}
    | {"eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object", "batch_eval_metrics"}
    | {"per_device_eval_batch_size", "prediction_loss_only", "include_for_metrics", "skip_memory_metrics"}
    | {"dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory"}
    | {"dataloader_prefetch_factor", "dataloader_multiprocessing_context", "torch_empty_cache_steps"}
    | {"ddp_backend", "ddp_timeout", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_static_graph"}
    | {"local_rank"}
)
"""Settings that may differ between a run and its continuation, because no weight depends on them."""

FROM_CHECKPOINT = frozenset(
    {"learning_rate", "critic_learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"}
)
"""Settings that stand in the optimizer's state: resuming takes them from there."""

MAY_CHANGE = frozenset(
    {"max_steps", "num_train_epochs", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "ignore_data_skip"}
    | {"load_best_model_at_end", "metric_for_best_model", "greater_is_better", "bf16_full_eval", "fp16_full_eval"}
    | {"bf16", "fp16", "tf32", "torch_compile", "torch_compile_backend", "torch_compile_mode", "use_cpu"}
    | {"channels_last", "images_on_device"}
    | {"activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing", "full_determinism"}
    | {"gradient_checkpointing_kwargs", "ddp_broadcast_buffers", "crd_kernel"}
)
"""Settings that a single run may change on its way, which is told; the runs of a study may not."""

_IN_OTHER_FACTS = frozenset(
    # Images a step, which other numbers of processes reach by other batches; seed, and views as they are made.
    {"per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size", "seed", "views", "preset"}
    # How a run is laid out over processes.
    | {"deepspeed", "fsdp", "fsdp_config", "parallelism_config", "accelerator_config"}
)
_OF_THE_SCHEDULE = frozenset(
    {"max_steps", "num_train_epochs", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"}
)


def settings_of_run(args: TrainingArguments) -> dict[str, Any]:
    """Return the settings that the weights depend on, of JSON types."""
    return {
        name: value
        for name, value in as_read_back(args.to_dict()).items()
        if name in type(args).__dataclass_fields__ and name not in OF_NO_EFFECT | _IN_OTHER_FACTS
    }


def check_same_run(checkpoint: str, written: dict[str, Any], now: dict[str, Any]) -> None:
    """Make sure that a checkpoint belongs to this run; say which settings change on the way, and which don't.

    Another number of processes is accepted with a warning if a step still takes as many images: steps, order of images
    and the memory bank then stay what they were. What a checkpoint of an older release does not say is not compared.

    Args:
        checkpoint: its folder, for messages.
        written: the facts of `write_manifest`.
        now: those of this run.

    Raises:
        ValueError: naming what differs, with both values.
    """
    now = as_read_back(now)
    differing = [
        f"{name.replace('_', ' ')}: {written[name]} in the checkpoint, {now.get(name)} now"
        for name in sorted(written.keys() - {"processes", SETTINGS})
        if written[name] != now.get(name)
    ]
    changed = _changed_settings(checkpoint, written.get(SETTINGS), now.get(SETTINGS) or {})
    differing += [
        f"`{name}`: {then} in the checkpoint, {value} now"
        for name, (then, value) in changed.items()
        if name not in FROM_CHECKPOINT | MAY_CHANGE
    ]
    if differing:
        raise ValueError(
            f"The checkpoint {checkpoint!r} is of another run ({'; '.join(differing)}), and its student, the rows of "
            "the memory bank and the order of images belong to a run. Resume with the settings it was written with, "
            "or start again in another `output_dir`."
        )
    _tell_changes(checkpoint, changed)
    if written.get("processes") != now.get("processes"):
        logger.warning(
            "The checkpoint %r was written by %s processes and goes on with %s: each step sees the same images, but "
            "its random draws (negatives, mixtures) differ from those of a run that was not interrupted.",
            checkpoint,
            written.get("processes"),
            now.get("processes"),
        )


def _changed_settings(checkpoint: str, then: Any, now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Both values of each setting that is not what it was; a setting that one release lacks is not compared."""
    if not isinstance(then, dict):
        logger.warning(
            "The checkpoint %r is of an older release and holds no settings: whether the run goes on with those it "
            "was begun with is not checked.",
            checkpoint,
        )
        return {}
    return {name: (then[name], now[name]) for name in sorted(then.keys() & now.keys()) if then[name] != now[name]}


def _tell_changes(checkpoint: str, changed: dict[str, tuple[Any, Any]]) -> None:
    kept = [f"`{name}` {then} (not {now})" for name, (then, now) in changed.items() if name in FROM_CHECKPOINT]
    anew = [f"`{name}` {now} (was {then})" for name, (then, now) in changed.items() if name in MAY_CHANGE]
    if kept:
        logger.warning("%r: the optimizer goes on as it was: %s.", checkpoint, ", ".join(kept))
    if anew:
        scheduled = _OF_THE_SCHEDULE & changed.keys()
        schedule = " The learning rate follows the schedule of these from the next step on." if scheduled else ""
        logger.warning("%r: the run goes on with %s.%s", checkpoint, ", ".join(anew), schedule)
