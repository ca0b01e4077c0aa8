"""Images that are evaluated on and trained on too."""

import logging
from collections.abc import Sequence

from datasets import Dataset, Image

logger = logging.getLogger(__name__)

NAMED_PAIRS = 3
"""How many pairs of equal images a message names."""


class ImageCopies:
    """Finds images that are stored twice, byte for byte: a copy that was encoded anew is not found.

    Args:
        are_errors: whether copies are refused; if not, they are warned of.
        name: what messages call the data set.
    """

    def __init__(self, are_errors: bool, name: str) -> None:
        self.are_errors = are_errors
        self.name = name

    def between(
        self, train: Dataset, train_digests: Sequence[bytes], test: Dataset, test_digests: Sequence[bytes]
    ) -> None:
        """Tell of test images that are training images too.

        Args:
            train: training images, in the column `image`.
            train_digests: of the bytes of each.
            test: test images, in the column `image`.
            test_digests: of the bytes of each.

        Raises:
            ValueError: if there are some and copies are errors.
        """
        first = {digest: row for row, digest in reversed(list(enumerate(train_digests)))}
        pairs = [(first[digest], row) for row, digest in enumerate(test_digests) if digest in first]
        if pairs:
            named = [f"{_file(train, ours)} = {_file(test, theirs)}" for ours, theirs in pairs[:NAMED_PAIRS]]
            self._tell(f"{len(pairs)} of {len(test)} test images of {self.name} are training images too", named, pairs)

    def within(self, train: Dataset, digests: Sequence[bytes]) -> None:
        """Tell of training images that are there twice, where a part of them is held out to evaluate on.

        Raises:
            ValueError: if there are some and copies are errors.
        """
        first: dict[bytes, int] = {}
        pairs = [(first[digest], row) for row, digest in enumerate(digests) if first.setdefault(digest, row) != row]
        if pairs:
            named = [f"{_file(train, ours)} = {_file(train, theirs)}" for ours, theirs in pairs[:NAMED_PAIRS]]
            found = f"{len(pairs)} of {len(train)} training images of {self.name} are copies of others"
            self._tell(f"{found}, and a part is held out as validation images", named, pairs)

    def _tell(self, found: str, named: list[str], pairs: list[tuple[int, int]]) -> None:
        text = f"{found}: {'; '.join(named)}{'; ...' * (len(pairs) > len(named))}"
        if self.are_errors:
            raise ValueError(f"{text}. Remove the copies, or allow them with `--check_images decode`.")
        logger.warning("%s. Accuracy comes out too high; `--check_images all` makes it an error.", text)


def _file(dataset: Dataset, row: int) -> str:
    stored = dataset.select([row]).cast_column("image", Image(decode=False))[0]["image"]
    return repr(stored["path"]) if stored["path"] else f"row {row}"
