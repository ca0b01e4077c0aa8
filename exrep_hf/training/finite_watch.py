"""Which terms of a run were not finite, and from which step on: kept on the device, without a wait in any step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from exrep_hf.data.pixels import pixel_names
from exrep_hf.finite import largest

GRADIENTS = "the norm of the gradients"
STUDENT_LOGITS = "the student's logits"
TEACHER_LOGITS = "the teacher's logits"
TEACHER_FEATURES = "the teacher's features"
# Beside images, what terms are made from: named as their cause, and harmless where the loss stays finite, as -inf
# for a class that a teacher rules out.
_CAUSES = (TEACHER_LOGITS, TEACHER_FEATURES, STUDENT_LOGITS)
_NEVER = 0
_NO_IMAGE = torch.iinfo(torch.int64).max

_REMEDIES = {
    TEACHER_LOGITS: "Look at the teacher: its weights, and whether float16 is wide enough for it.",
    TEACHER_FEATURES: "Look at the teacher: its weights, and whether float16 is wide enough for it.",
    STUDENT_LOGITS: "Lower `learning_rate` or lengthen `warmup_steps`; under `fp16`, try `bf16`.",
}
_OTHERWISE = "Lower `learning_rate` or the weight of that term, or lengthen `warmup_steps`; under `fp16`, try `bf16`."


class FiniteWatch:
    """For each term the first step, from 1 on, in which it was not finite; and the first image that was not."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all steps."""
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._image: Tensor | None = None

    @property
    def names(self) -> list[str]:
        """Terms, in the order of `tensors`."""
        return [name for group in self._first for name in group]

    @torch.no_grad()
    def note(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Take note of a step.

        Args:
            step: from 1 on.
            values: scalars by name; the same names at each call from the same place.
        """
        group = tuple(values)
        bad = torch.stack([value.detach() for value in values.values()]).isfinite().logical_not_()
        if group not in self._first:
            self._first[group] = torch.full_like(bad, _NEVER, dtype=torch.int64)
        first = self._first[group]
        first.masked_fill_(bad.logical_and_(first == _NEVER), step)

    @torch.no_grad()
    def note_images(self, step: int, batch: Mapping[str, Tensor]) -> None:
        """Take note of the images of a step, as far as their pixels can be other than finite.

        Args:
            step: from 1 on.
            batch: sets of pixels `(batch, ...)`, and `sample_index` `(batch,)` where there is one.
        """
        sets = {name: batch[name] for name in pixel_names(batch) if batch[name].is_floating_point()}
        if not sets:
            return
        peaks = torch.stack([largest(pixels.flatten(1), dim=1) for pixels in sets.values()])  # (sets, batch)
        self.note(step, dict(zip(sets, peaks.amax(1), strict=True)))
        if "sample_index" in batch:
            is_finite = peaks.isfinite().all(0)  # (batch,)
            image = batch["sample_index"].masked_fill(is_finite, _NO_IMAGE).amin()
            self._image = image if self._image is None else self._image.where(self._image != _NO_IMAGE, image)

    def tensors(self, device: torch.device) -> list[Tensor]:
        """Return the first steps by `names`, and behind them the image, 1-d int64."""
        image = torch.full((1,), _NO_IMAGE) if self._image is None else self._image.reshape(1)
        return [each.to(device) for each in (*self._first.values(), image)]

    def told(self, processes: Sequence[Sequence[int]]) -> str | None:
        """Say what was not finite first, and what to do.

        Args:
            processes: the values of `tensors` on each process.

        Returns:
            None where the loss and its gradients were finite in all steps.
        """
        names = self.names
        causes = {name for name in names if name in _CAUSES or name in pixel_names({name: None})}
        steps = [dict(zip(names, row, strict=False)) for row in processes]
        decisive = [step for row in steps for name, step in row.items() if name not in causes and step != _NEVER]
        if not decisive:
            return None
        first = min(decisive)

        def at_first(name: str, until: bool) -> list[int]:
            """Processes on which a term was not finite in that step, or also before."""
            return [
                rank for rank, row in enumerate(steps) if row[name] == first or (until and _NEVER < row[name] < first)
            ]

        terms = {name: ranks for name in names if name not in causes and (ranks := at_first(name, False))}
        behind = [name for name in names if name in causes and at_first(name, True)]
        # Gradients are those of all processes together.
        own = [each for name, each in terms.items() if name != GRADIENTS] or list(terms.values())
        ranks = sorted({rank for each in own for rank in each})
        where = f" (process {', '.join(map(str, ranks))} of {len(steps)})" if len(steps) > 1 else ""
        told = f"not finite since step {first}{where}: {', '.join(map(_quoted, terms))}"
        told += f"; nor were {', '.join(map(_quoted, behind))}" if behind else ""
        return f"{told}. {self._remedy(behind, processes)}"

    @staticmethod
    def _remedy(behind: Sequence[str], processes: Sequence[Sequence[int]]) -> str:
        pixels = pixel_names(dict.fromkeys(behind))
        images = sorted({row[-1] for row in processes} - {_NO_IMAGE})
        if pixels:
            which = f", `sample_index` {', '.join(map(str, images))}," if images else ""
            return f"Look at the images of that step{which} and leave out those with NaN or infinite pixels."
        return next((_REMEDIES[name] for name in _CAUSES if name in behind), _OTHERWISE)


def _quoted(name: str) -> str:
    return name if name.startswith("the ") else f"`{name}`"
