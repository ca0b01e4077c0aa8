"""Which training images an image is contrasted with: images of other classes, drawn uniformly on the device."""

import torch
from torch import Tensor

from exrep_hf.losses.gather import gather_batches
from exrep_hf.losses.unregistered_tensors import UnregisteredTensorModule

# A random integer below this, modulo m, is uniform up to a relative error of m / 2^62.
_RANDOM_BOUND = 2**62


class NegativeSampler(UnregisteredTensorModule):
    """Draw rows of other classes, with replacement, in O(1) memory and time per draw.

    Rows sorted by class put each class in one block; a draw `u` among the `n - n_c` other rows skips its own block.

    Args:
        num_samples: number of training images.
        keeps_order: whether rows are kept in the order of their classes: for `draw`, not for `draw_for_all`.

    Attributes:
        labels: class of every training image, `(num_samples,)` int64; -1 where unknown.
        registered: whether `register` gave the classes of all images.
        largest_batch: as of `MemoryBank`.
    """

    labels: Tensor
    _order: Tensor | None
    _sorted_labels: Tensor | None
    _places: Tensor | None

    def __init__(self, num_samples: int, keeps_order: bool = True) -> None:
        super().__init__()
        self.labels = torch.full((num_samples,), -1, device="cpu")
        self.registered = False
        self._keeps_order = keeps_order
        self.largest_batch = 0
        # Rows in the order of their classes, their classes in that order, and each row's place in it; (num_samples,).
        self._order, self._sorted_labels, self._places = None, None, None

    def register(self, labels: Tensor) -> None:
        """Set the class of every training image.

        Args:
            labels: `(num_samples,)`, integers; -1 where unknown.

        Raises:
            ValueError: if the length is wrong, the dtype is no integer, or there is only one class.
        """
        if labels.shape != self.labels.shape:
            raise ValueError(
                f"CRD needs one label per training image: expected shape ({len(self.labels)},), got "
                f"{tuple(labels.shape)}; pass the labels of the data set that num_samples was taken from."
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(f"CRD needs class indices as labels, got dtype {labels.dtype}; convert them to int64.")
        if bool((labels == labels[0]).all()):
            raise ValueError(
                f"CRD needs at least two classes to draw negatives from, got {len(labels)} images, all of class "
                f"{int(labels[0])}; leave CRD out or add images of another class."
            )
        self.labels = labels.to(self.labels.device, torch.int64, copy=True)
        self.registered = True
        self._sort()

    @torch.no_grad()
    def draw(self, rows: Tensor | None, labels: Tensor | None, batch: int, num_negatives: int) -> Tensor:
        """Draw the negatives of a batch.

        Args:
            rows: `(batch,)` own rows of training images; None for images that have none.
            labels: `(batch,)` classes to leave out; by default the registered ones of `rows`. If none were registered,
                those of training images are remembered. A row of unknown class (-1) counts as another class, to all
                but itself.
            batch: number of images.
            num_negatives: draws per image.

        Returns:
            `(batch, num_negatives)` rows: of other classes, or, without any labels, all rows but the own one.
        """
        labels = self._classes(rows, labels)
        # `randint` takes one bound for all images, and each has its own.
        random = torch.randint(_RANDOM_BOUND, (batch, num_negatives), device=self.labels.device)  # (batch, K)
        if labels is not None and self._order is not None and self._sorted_labels is not None:
            labels = labels.long()
            start = torch.searchsorted(self._sorted_labels, labels).unsqueeze(1)  # (batch, 1), of the class's block
            size = torch.searchsorted(self._sorted_labels, labels, right=True).unsqueeze(1) - start  # (batch, 1)
            if self._places is not None:
                # Of those whose class isn't known, each is a block of its own; an image without a row is none.
                unknown = labels.unsqueeze(1) < 0
                start = torch.where(unknown, 0 if rows is None else self._places[rows].unsqueeze(1), start)
                size = torch.where(unknown, 0 if rows is None else 1, size)
            others = len(self._order) - size  # (batch, 1)
            # While all known images are of one class there is nothing else to draw from: take any row.
            draw = random % torch.where(others > 0, others, len(self._order))
            place = draw + size * ((draw >= start) & (others > 0))
            # A tenth of the time that an index takes on a CPU.
            return self._order.index_select(0, place.flatten()).view(place.shape)  # (batch, K)
        if rows is not None:
            # Without classes the own row is a block of one.
            draw = random % (len(self.labels) - 1)
            return draw + (draw >= rows.unsqueeze(1))
        return random % len(self.labels)

    @torch.no_grad()
    def draw_for_all(
        self, rows: Tensor | None, labels: Tensor | None, batch: int, num_negatives: int
    ) -> tuple[Tensor, Tensor | None]:
        """Draw rows that all images of a batch have in common, uniformly from all.

        Args:
            rows: as of `draw`.
            labels: as of `draw`.
            batch: number of images.
            num_negatives: draws.

        Returns:
            `(num_negatives,)` rows, and which are none of an image's negatives, `(batch, num_negatives)`: those of its
            class, or, where no class is known, its own row; None where images have neither.
        """
        labels = self._classes(rows, labels)
        drawn = torch.randint(len(self.labels), (num_negatives,), device=self.labels.device)  # (K,)
        if rows is None and labels is None:
            return drawn, None
        # Its own row is none of an image's negatives, whatever is known of its class.
        own = drawn == rows.unsqueeze(1) if rows is not None else None  # (batch, K)
        if labels is not None:
            labels = labels.long().unsqueeze(1)  # (batch, 1)
            same = (self.labels[drawn] == labels) & (labels >= 0)  # (batch, K)
            own = same if own is None else own | same
        return drawn, own

    def _classes(self, rows: Tensor | None, labels: Tensor | None) -> Tensor | None:
        """Return the classes to leave out, those that are given or registered, and remember what is new."""
        if labels is None and rows is not None and self.registered:
            return self.labels[rows]
        if labels is not None and rows is not None and not self.registered:
            self.remember(rows, labels)
        return labels

    @torch.no_grad()
    def remember(self, rows: Tensor, labels: Tensor) -> None:
        """Note the classes of a batch, those of all processes on each of them.

        Args:
            rows: `(batch,)`.
            labels: `(batch,)`.
        """
        # In one message: a collective operation costs more than its few bytes.
        rows, labels = gather_batches(torch.stack([rows, labels.long()], dim=1), self.largest_batch).unbind(1)
        self.labels.index_copy_(0, rows, labels)
        self._sort()

    @torch.no_grad()
    def load(self, labels: Tensor) -> None:
        """Restore `labels`, in place."""
        self.labels.copy_(labels)
        self._sort()

    def _sort(self) -> None:
        if not self._keeps_order:
            return
        # Stable: a run that is resumed has to draw the same rows.
        self._sorted_labels, self._order = torch.sort(self.labels, stable=True)
        self._places = torch.empty_like(self._order)
        self._places[self._order] = torch.arange(len(self._order), device=self._order.device)
