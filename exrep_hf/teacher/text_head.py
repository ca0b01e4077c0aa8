"""A classifier from what classes are called: made by the text tower of a checkpoint with two, never fitted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from exrep_hf.arguments.prompts import check_prompts
from exrep_hf.data.class_names import words_for
from exrep_hf.models import TextWeights, TwoTowers
from exrep_hf.teacher.identity import joined_fingerprint, network_fingerprint
from exrep_hf.teacher.source import TeacherSource

_NAMED = 5
INSTEAD = "Use `teacher_head='probe'` (fitted on labelled images) or 'none' (features alone) instead."


@dataclass(frozen=True)
class TextHead:
    """A classifier, and the words that it was made of.

    Attributes:
        weights: of what the vision tower pools.
        names: of the classes, by which they are matched.
        words: what texts call them.
        prompts: the texts, each with `{}` where the words stand.
    """

    weights: TextWeights
    names: tuple[str, ...]
    words: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class TextClasses:
    """What a text head is made of.

    Attributes:
        names: of the classes; None: nobody names them.
        prompts: each with `{}`; None: the one that is usual for the model.
        as_they_are: whether texts hold the names as they are, as the user wrote them, or words for them.

    Raises:
        ValueError: if a prompt has no `{}`.
    """

    names: Sequence[str] | None
    prompts: Sequence[str] | None = None
    as_they_are: bool = False

    def __post_init__(self) -> None:
        check_prompts(self.prompts)

    def words(self) -> tuple[str, ...]:
        """Return what texts call the classes.

        Raises:
            ValueError: if there are none, or two are called the same.
        """
        names = list(self.names or ())
        if not names:
            raise ValueError(
                "`teacher_head` is 'text', and neither the images nor the student name their classes. Give the names: "
                f"`class_names`, a list, or on the command line also a file with one a line. {INSTEAD}"
            )
        words = names if self.as_they_are else words_for(names)
        count = Counter(" ".join(word.casefold().split()) for word in words)
        twice = [name for name, word in zip(names, words, strict=True) if count[" ".join(word.casefold().split())] > 1]
        if twice or len(names) < 2 or not all(word.strip() for word in words):
            what = f"hold {twice[:_NAMED]} with the same words" if twice else f"are {names[:_NAMED]}"
            raise ValueError(
                f"The names of classes for `teacher_head='text'` {what}; expected at least two, each another. Give "
                "other words for them: `class_names`, in the order of the classes with `classes='position'`, or with "
                "a mapping (`classes`) from these words to the names of the data."
            )
        return tuple(words)


def make_text_head(
    teacher: TeacherSource, classes: TextClasses, revision: str | None = None, device: torch.device | str = "cpu"
) -> TextHead:
    """Load the checkpoint of a teacher once more, with its text tower, and let that go again.

    Args:
        teacher: the vision tower of a checkpoint of transformers, known by the name that it was loaded from.
        classes: what to make it of.
        revision: branch, tag or commit on the Hub; the one that the vision tower is of where not given.
        device: where texts are read.

    Raises:
        ValueError: if that has no text tower or no tokenizer, or is not this teacher's; or the classes can't be told
            apart.
    """
    words, network = classes.words(), _vision_tower(teacher)
    name = str(getattr(network, "name_or_path", ""))
    towers = TwoTowers(name, revision or getattr(getattr(network, "config", None), "_commit_hash", None))
    prompts = tuple(classes.prompts or towers.usual_prompts)
    weights = towers.weights(words, prompts, device)
    same = towers.vision_tower.to("cpu", next(network.parameters()).dtype)
    if network_fingerprint(same) != teacher.fingerprint:
        raise ValueError(
            f"The teacher is not the vision tower that {name!r} holds, or gives other features than it pools (own); "
            f"its texts mean nothing to them. Pass the name or folder itself, with `teacher_features` 'own'. {INSTEAD}"
        )
    return TextHead(weights, tuple(classes.names or ()), words, prompts)


def text_facts(head: TextHead) -> dict[str, Any]:
    """Return what is told of a head from texts, of JSON types."""
    return {"kind": "text", "prompts": list(head.prompts), "words": list(head.words)}


def text_fingerprint(head: TextHead) -> str:
    """Return a short name for names, words and prompts: of the same teacher a head of the same ones is the same."""
    return f"text {joined_fingerprint([repr((head.names, head.words, head.prompts))])}"


def text_in_words(facts: Mapping[str, Any]) -> str:
    """Return what a card says of such a head."""
    # They may be others', of stored answers.
    prompts, words = ([f"`{_plain(text)}`" for text in facts[name]] for name in ("prompts", "words"))
    several = f" and {len(prompts) - _NAMED} more" if len(prompts) > _NAMED else ""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return (
        f"cosines of its images to its texts about {len(words)} classes ({', '.join(words[:_NAMED])}{more}), with the "
        f"prompt{'s' if len(prompts) > 1 else ''} {', '.join(prompts[:_NAMED])}{several}; nothing was fitted"
    )


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[:80]


def _vision_tower(teacher: TeacherSource) -> nn.Module:
    networks = list(teacher.networks())
    named = [network for network in networks if getattr(network, "name_or_path", None)]
    if len(networks) == 1 and len(named) == 1:
        return named[0]
    raise ValueError(
        f"`teacher_head` is 'text', and the teacher, a {type(teacher).__name__}, is not one network that was loaded "
        "from a name or folder: its text tower can't be found. Pass the name or folder itself; store answers again by "
        f"`recipes/cache_teacher.py --teacher_head text`. {INSTEAD}"
    )
