"""Which images are mixed with which, where mixtures are to be made again: it follows from seed, view and row alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from exrep_hf.data.mixing import Mixing
from exrep_hf.data.seeding import generators_kept, seed_generators, seed_of

Place = tuple[int, int]
"""A row, and the number of the epoch or view that its item is made for."""

Draw = tuple[Place, Tensor, Tensor]
"""A partner, and `Mixing.draw` for one image: its share `(1,)` and box `(1, 4)`."""

GROUP = 16
"""Images of a group: batches of a multiple of it are whole groups."""

# Set these draws apart from those of the image itself.
_MIXTURE = 1
_GROUPS = 4


class Partners(Protocol):
    """A rule by which images of a view are mixed."""

    def draw(self, place: Place, mixing_round: int) -> Draw:
        """Return with what an image is mixed.

        Args:
            place: row and view.
            mixing_round: from 1 on.
        """


@dataclass(frozen=True)
class AnyPartners:
    """Any other image may be the partner, as each image draws for itself.

    Attributes:
        seed: of the views.
        mixing: how images are mixed.
        partner: draws a row with torch's global generator.
    """

    seed: int
    mixing: Mixing
    partner: Callable[[], int]

    def draw(self, place: Place, mixing_round: int) -> Draw:
        """Return with what an image is mixed."""
        row, view = place
        with generators_kept():
            # The first round's draws are those of views that are mixed once.
            seed_generators([self.seed, view, row, _MIXTURE, *[mixing_round] * (mixing_round > 1)])
            partner = self.partner()
            return (partner, view), *self.mixing.draw(1)


@dataclass(frozen=True)
class GroupPartners:
    """The images of a view are divided into groups, and those of a group are mixed with each other, as a batch is.

    Where a batch is made of whole groups, each image is decoded once, whatever it is mixed with.

    Attributes:
        seed: of the views.
        mixing: how images are mixed.
        count: rows; the last group takes those that make up no whole one, beside its own.
    """

    seed: int
    mixing: Mixing
    count: int
    # By view: rows in the order of their groups, and the place of each row in it.
    _orders: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)
    _drawn: dict[tuple[int, int], list[tuple[Tensor, Tensor, Tensor]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def groups(self) -> int:
        """How many there are in a view."""
        return max(1, self.count // GROUP)

    def group_of(self, rows: Tensor, view: int) -> Tensor:
        """Return the group of each of some rows, from 0 on."""
        return (self._order(view)[1][rows] // GROUP).clamp(max=self.groups - 1)

    def draw(self, place: Place, mixing_round: int) -> Draw:
        """Return with what an image is mixed."""
        row, view = place
        order, places = self._order(view)
        at = int(places[row])
        group = min(at // GROUP, self.groups - 1)
        partners, shares, boxes = self._draws(view, group)[mixing_round - 1]
        member = at - group * GROUP
        partner = int(order[group * GROUP + int(partners[member])])
        return (partner, view), shares[member : member + 1], boxes[member : member + 1]

    def _order(self, view: int) -> tuple[Tensor, Tensor]:
        if view not in self._orders:
            if len(self._orders) > 3:
                # Of a million rows one takes 16 MB.
                self._orders.clear()
            generator = torch.Generator().manual_seed(seed_of([self.seed, view, _GROUPS]))
            order = torch.randperm(self.count, generator=generator)
            self._orders[view] = order, torch.argsort(order)
        return self._orders[view]

    def _draws(self, view: int, group: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        if (view, group) not in self._drawn:
            if len(self._drawn) > 255:
                self._drawn.clear()
            size = GROUP if group < self.groups - 1 else self.count - group * GROUP
            with generators_kept():
                seed_generators([self.seed, view, group, _MIXTURE, _GROUPS])
                rounds = range(self.mixing.rounds)
                self._drawn[view, group] = [(torch.randperm(size), *self.mixing.draw(size)) for _ in rounds]
        return self._drawn[view, group]
