"""A term of the loss: a module with a weight, and what it needs of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from exrep_hf.arguments.terms import USUAL_NEEDS, check_needs, check_term_name, check_weight


@dataclass(frozen=True)
class Term:
    """A term of the loss.

    Attributes:
        loss: called as `loss(student, teacher, batch)` with a `StudentOutput` (logits, of a term that needs the
            teacher's of the classes that both know, and features), a `TeacherOutput` (logits, features) and the batch
            (`pixel_values`, and `labels` and `sample_index` where they are known; labels of mixed images are the
            shares of classes). Returns a scalar, logged as `loss_<name>`; or several by name, each logged. Its
            parameters are trained with the student and kept in checkpoints.
        weight: of the scalar; where there are several, of each by its name.
        needs: what a training batch must have for it, of `labels`, `sample_index`, `teacher_logits` and
            `teacher_features`; where an evaluation's batch lacks it, the term is left out. Where not given, what the
            class says in an attribute `needs`, else `("teacher_logits",)`.
    """

    loss: nn.Module
    weight: float | Mapping[str, float] = 1.0
    needs: Sequence[str] | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """What a training batch must have for it."""
        given = self.needs if self.needs is not None else getattr(self.loss, "needs", USUAL_NEEDS)
        return check_needs(type(self.loss).__name__, given)

    @property
    def weights(self) -> dict[str, float] | float:
        """The weight, as plain values."""
        return dict(self.weight) if isinstance(self.weight, Mapping) else self.weight

    def described(self) -> dict[str, Any]:
        """Return class, weight and needs, of JSON types, as settings have them."""
        cls = type(self.loss)
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "weight": self.weights, "needs": list(self.needed)}


def check_terms(terms: Any) -> dict[str, Term]:
    """Make sure that terms are what a trainer takes.

    Raises:
        ValueError: if they are no mapping from name to `Term`, or have a name or weight that can't be.
    """
    if not isinstance(terms, Mapping) or not all(isinstance(term, Term) for term in terms.values()):
        raise ValueError(
            f"`terms` is {terms!r:.200}; expected a mapping from name to `Term(module, weight)`, which is logged as "
            "`loss_<name>`."
        )
    for name, term in terms.items():
        check_term_name(name)
        if not isinstance(term.loss, nn.Module):
            raise ValueError(
                f"The term `{name}` has a {type(term.loss).__name__}; expected a `torch.nn.Module`, whose parameters "
                "are trained. Make its function the `forward` of one."
            )
        check_weight(name, term.weights)
        check_needs(name, term.needed)
    return dict(terms)
