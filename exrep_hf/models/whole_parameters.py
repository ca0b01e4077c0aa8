"""Building models whose parameters are not split while they are built."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.integrations import deepspeed


@contextmanager
def whole_parameters() -> Iterator[None]:
    """Let transformers build models as if DeepSpeed ZeRO-3 were not there.

    Once `TrainingArguments` name a ZeRO-3 config, transformers splits each model that it builds, and what is left on
    a process are parameters without elements: a teacher that is never handed to DeepSpeed answers nothing with those.
    DeepSpeed splits a student by itself when training starts.
    """
    # A weak reference: the config goes with the training arguments that hold it.
    reference = deepspeed._hf_deepspeed_config_weak_ref
    config = None if reference is None else reference()
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if config is not None:
            deepspeed.set_hf_deepspeed_config(config)
