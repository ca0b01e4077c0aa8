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
    asked = {"kd": args.temperature} if args.kd_weight else {}
    known = asked | {
        name: getattr(term.loss, "temperature", None)
        for name, term in own_terms.items()
        if "teacher_logits" in term.needed
    }
    temperatures = set(known.values())
    if _are_rebuilt(teacher) and (len(temperatures) > 1 or None in temperatures):
        told = ", ".join(f"`{name}` {'unknown' if each is None else f'{each:g}'}" for name, each in known.items())
        raise ValueError(
            f"The teacher's logits were stored with `top_k` and are rebuilt for one temperature, and the terms' are: "
            f"{told}; expected one for all. Give the terms the same `temperature` (an attribute of their modules), or "
            "store all logits."
        )
    found = temperatures.pop() if len(temperatures) == 1 else args.temperature
    temperature = args.temperature if found is None else float(found)
    teacher.check_temperature(temperature)
    return temperature


def _are_rebuilt(teacher: TeacherSource) -> bool:
    """Whether a source's logits differ with the temperature: where they are what a network said, any will do."""
    try:
        teacher.check_temperature(0.0)
    except ValueError:
        return True
    return False
