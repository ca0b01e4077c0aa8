"""The temperature that a teacher's logits are asked for."""

from collections.abc import Mapping

from exrep_hf.arguments import DistillationArguments
from exrep_hf.losses import Term
from exrep_hf.teacher import TeacherSource


def asked_temperature(
    teacher: TeacherSource | None, args: DistillationArguments, own_terms: Mapping[str, Term]
) -> float:
    """Return the temperature that all terms divide the teacher's logits by, where it makes a difference.

    Logits that were stored with `top_k` are rebuilt for one temperature. A term's is the attribute `temperature` of
    its module; what a term does that has none is not known.

    Args:
        teacher: whom to ask.
        args: settings of our own terms.
        own_terms: the user's, by name.

    Raises:
        ValueError: if such logits would be divided by several, or an unknown one, or can't be rebuilt for it.
    """
    if teacher is None or not args.needs_teacher:
        return args.temperature
    of_terms: dict[str, float | None] = {"kd": args.temperature} if args.kd_weight else {}
    for name, term in own_terms.items():
        if "teacher_logits" in term.needed:
            of_terms[name] = getattr(term.loss, "temperature", None)
    # Features alone: the setting, which the answers have to be there for all the same.
    temperature, *others = set(of_terms.values()) or {args.temperature}
    if not _are_rebuilt(teacher):
        temperature = args.temperature
    elif others or temperature is None:
        told = ", ".join(f"`{name}` {'unknown' if each is None else f'{each:g}'}" for name, each in of_terms.items())
        raise ValueError(
            f"The teacher's logits were stored with `top_k` and are rebuilt for one temperature, and the terms' are: "
            f"{told}; expected one for all. Give the terms the same `temperature` (an attribute of their modules), or "
            "store all logits."
        )
    teacher.check_temperature(temperature)
    return temperature


def _are_rebuilt(teacher: TeacherSource) -> bool:
    """Whether a source's logits differ with the temperature: where they are what a network said, any will do."""
    try:
        teacher.check_temperature(0.0)
    except ValueError:
        return True
    return False
