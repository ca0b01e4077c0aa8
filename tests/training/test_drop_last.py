"""Incomplete batches: left out of training on request, never out of evaluation."""

from collections.abc import Callable
from typing import Any


def test_every_image_is_judged(make_trainer: Callable[..., Any], make_rows: Callable[..., Any]) -> None:
    """With `dataloader_drop_last` the Trainer judges on fewer images than the data set has, and doesn't say so."""
    rows = make_rows(5)
    trainer = make_trainer(eval_dataset=rows, dataloader_drop_last=True, per_device_eval_batch_size=4)
    assert len(trainer.predict(rows).predictions) == 5
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader()) == 5
    assert trainer.args.dataloader_drop_last
