"""What is looked at in a teacher before training starts."""

from torch import nn

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.teacher.source import TeacherSource


def check_apart(student: nn.Module, teacher: TeacherSource) -> None:
    """Make sure that teacher and student are two networks.

    Raises:
        ValueError: if they share weights: the frozen teacher would freeze the student, or learn with it.
    """
    own = set(student.parameters())
    if not all(own.isdisjoint(network.parameters()) for network in teacher.networks()):
        raise ValueError(
            "Teacher and student are the same network, or share weights; expected two. Load the model twice, or "
            "pass `copy.deepcopy(model)` as the teacher."
        )


def check_answers(teacher: TeacherSource, needs_logits: bool, needs_features: bool) -> None:
    """Make sure that a teacher gives what the active terms compare.

    Raises:
        ValueError: if it gives no logits or no features, and they are needed.
    """
    for needed, given, what, weights in (
        (needs_logits, teacher.num_labels, "logits", "`kd_weight`, and of such `terms`,"),
        (needs_features, teacher.feature_dim, "features", "the weights of the terms on features"),
    ):
        if needed and given is None:
            raise ValueError(
                f"The teacher, a {type(teacher).__name__}, gives no {what}, and a term that is active compares them. "
                f"Set {weights} to 0, or pass another teacher."
            )


def check_views(stored: ViewPolicy, wanted: ViewPolicy, number_given: bool) -> None:
    """Make sure that a run's views are the ones that a teacher can be queried on.

    Args:
        stored: the teacher's.
        wanted: the run's; their seed does not count.
        number_given: whether the run says how many there are.

    Raises:
        ValueError: if the run wants other views, with both values.
    """
    pairs = {
        "views": (stored.views, wanted.views if number_given else stored.views),
        "augmentation": (stored.augmentation, wanted.augmentation),
        "mixup": (stored.mixing.mixup, wanted.mixing.mixup),
        "cutmix": (stored.mixing.cutmix, wanted.mixing.cutmix),
        "mix_rounds": (stored.mixing.rounds, wanted.mixing.rounds),
    }
    different = [f"`{name}` {there} stored, {here} now" for name, (there, here) in pairs.items() if there != here]
    if different:
        raise ValueError(
            f"The teacher's answers are stored for other views than are trained on: {'; '.join(different)}. Train on "
            "the stored views, store the answers for these, or use an `OnlineTeacher`."
        )


def known_preprocessing(teacher: TeacherSource) -> tuple[Preprocessing, ...]:
    """Return how a teacher wants its sets of pixels.

    Raises:
        ValueError: if that is not known of one of them.
    """
    known = tuple(each for each in teacher.preprocessing if each is not None)
    if len(known) != len(teacher.preprocessing):
        named = ", ".join(type(getattr(network, "timm_model", network)).__name__ for network in teacher.networks())
        raise ValueError(
            f"How the teacher{named and f', a {named},'} wants its images is not known: no preprocessor_config.json "
            "came with it. Pass `OnlineTeacher(model, processing_class, …)` with its image processor as the teacher, "
            "such as `AutoImageProcessor.from_pretrained(…)` of the checkpoint that it was made from."
        )
    return known
