"""What a teacher has to offer, wherever its answers come from."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.outputs import TeacherOutput


@runtime_checkable
class TeacherSource(Protocol):
    """Anything that answers a batch with logits and pooled features.

    It is all that the rest of the package knows of teachers: a source that forwards each of these to another one is
    treated as that one is.

    A source wants any number of sets of pixels, each with an entry in `preprocessing`; the batch holds them under
    `exrep_hf.data.pixels.teacher_pixels_name`, and `teacher_pixels` reads them. An entry of None is a set of which the
    source does not know how it is made: items have to hold it as tensors, and data sets of images are refused. A
    source without entries sees no pixels, and takes any data set.

    A class that is made from this one says only what differs: as it stands here a source has no names, views,
    fingerprint or networks, and takes any images and temperature.
    """

    @property
    def num_labels(self) -> int | None:
        """Number of classes of the logits; None: it gives no logits."""

    @property
    def id2label(self) -> Mapping[int, str] | None:
        """Names of the classes; None where they are not known."""
        return None

    @property
    def feature_dim(self) -> int | None:
        """Width of the pooled features; None: it gives no features."""

    @property
    def preprocessing(self) -> tuple[Preprocessing | None, ...]:
        """How it wants each of its sets of pixels; None where that is not known; empty: it sees none."""

    @property
    def views(self) -> ViewPolicy | None:
        """The views of training images that it can be queried on, by `sample_index` and `view`; None: any image.

        A source with views is trained on these alone, and left out of evaluation.
        """
        return None

    @property
    def fingerprint(self) -> str | None:
        """A short name for its answers, which a resumed run has to find again; None where there is none."""
        return None

    def networks(self) -> Iterable[nn.Module]:
        """Return the networks that answer, whose weights must not be the student's; none where there are none."""
        return ()

    def check_images(self, dataset: Any) -> None:
        """Make sure that it can be queried on the images of a training data set, as the Trainer walks through it.

        Raises:
            ValueError: if its answers are for other images.
        """
        return None

    def check_temperature(self, temperature: float) -> None:
        """Make sure that it has logits for a temperature: one whose logits are the same for all takes 0 too.

        Raises:
            ValueError: if it has none that are right when they are divided by it.
        """
        return None

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Answer a batch as the collator builds it.

        Args:
            batch: the sets of pixels, `sample_index` and `view`, as far as there are any.
            temperature: what the logits will be divided by. Only a source that stores a part of each answer has to
                look at it, to put the rest together for it.

        Returns:
            Logits `(batch, num_labels)`, not divided, and features `(batch, feature_dim)`, float32, on the batch's
            device.
        """
        ...


def compile_source(source: TeacherSource, backend: str | None, mode: str | None) -> None:
    """Compile what answers, where a source has a method `compile(backend, mode)` for it; again does nothing.

    Args:
        source: whom to ask.
        backend: of `torch.compile`.
        mode: the same.
    """
    # Not in the protocol: whoever satisfied it before would no longer.
    compile_answers = getattr(source, "compile", None)
    # A source that is a module has torch's own, which takes other arguments and is its owner's to call.
    if callable(compile_answers) and getattr(type(source), "compile", None) is not nn.Module.compile:
        compile_answers(backend, mode)
