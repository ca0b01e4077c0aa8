"""How often images of none of the classes come beside the others, and what becomes of their columns."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from torch.utils.data import DataLoader

from exrep_hf.data import Mixing, ViewPolicy, WithExtraImages
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.extra_images import Extra, check_walk, place_in_walks


def images(count: int, column: str = "image", labelled: bool = True) -> Dataset:
    pixels = [PILImage.fromarray(np.full((4, 4), row, np.uint8)) for row in range(count)]
    features: dict[str, Any] = {column: Image()} | ({"label": ClassLabel(names=["a", "b"])} if labelled else {})
    labels = {"label": [row % 2 for row in range(count)]} if labelled else {}
    return Dataset.from_dict({column: pixels} | labels, features=Features(features))


@pytest.mark.parametrize(("count", "share", "drawn"), [(50, 0.25, 7), (3, 0.25, 7), (50, 0.5, 20), (50, 0.001, 1)])
def test_walks(count: int, share: float, drawn: int) -> None:
    """Each image comes once a walk, each extra one as often as any other, and never twice under the same number."""
    extra = Extra(count, share)
    assert extra.per_walk(20) == drawn
    walks = 60
    places = [place_in_walks(position, 20, extra) for position in range(walks * (20 + drawn))]
    assert len(set(places)) == len(places)
    for walk in range(walks):
        part = places[walk * (20 + drawn) : (walk + 1) * (20 + drawn)]
        assert part[:20] == [(row, walk) for row in range(20)] and all(row >= 20 for row, _ in part[20:])
    often = Counter(row for row, _ in places if row >= 20)
    assert max(often.values()) - min(often.get(20 + row, 0) for row in range(count)) <= 1


def test_without_extra_images_nothing_changes() -> None:
    assert [place_in_walks(position, 3, None) for position in range(7)] == [
        (0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2),
    ]  # fmt: skip


class Rows:
    """Items that say which row they are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"pixel_values": np.zeros((1, 2, 2), np.float32), "row": row}


def test_epochs_share_and_workers() -> None:
    """An epoch is one walk; whoever makes its items, they are the same, and longer epochs go on with the walk."""
    dataset: Any = SeededDataset(Rows(20 + 50), 0, extra=Extra(50, 0.25))
    assert len(dataset) == dataset.walk == 27
    for epoch in range(3):
        dataset.set_epoch(epoch)
        rows = [item["row"] for item in dataset.__getitems__(range(27))]
        assert rows == [*range(20), *(20 + (7 * epoch + place) % 50 for place in range(7))]
        loader = DataLoader(dataset, batch_size=9, num_workers=2, collate_fn=lambda items: [i["row"] for i in items])
        assert [row for batch in loader for row in batch] == rows
    dataset.length = 128
    dataset.set_epoch(1)
    rows = [item["row"] for item in dataset.__getitems__(range(128))]
    assert sum(row >= 20 for row in rows) == pytest.approx(128 * 7 / 27, abs=7)


def test_partners_in_fixed_mixtures() -> None:
    """Of a thousand extra images beside 20 a fourth of the partners are of them, as of the batches."""
    policy = ViewPolicy(50, 0, None, Mixing(mixup=1.0))
    dataset = ReplayedDataset(Rows(1020), policy, None, extra=Extra(1000, 0.25))
    partners = [dataset.partners.draw((row, view), 1)[0][0] for view in range(50) for row in range(20)]
    assert len(partners) == 1000
    of_extra = [row for row in partners if row >= 20]
    assert 0.2 < len(of_extra) / 1000 < 0.32 and len(set(of_extra)) > 150 and len(set(partners) - set(of_extra)) == 20


def test_joined() -> None:
    """Columns have their own names, and a label of the extra images counts for nothing."""
    given = images(4)
    for extra in (images(6, "picture", labelled=False), images(6)):
        joined, how = WithExtraImages(given, extra, 0.5).joined()
        assert how == Extra(6, 0.5) and joined.column_names == ["image", "label"]
        assert joined["label"][:] == [0, 1, 0, 1] + [None] * 6 and joined.features == given.features
        assert [np.asarray(image)[0, 0] for image in joined["image"]] == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    joined, _ = WithExtraImages(images(4, labelled=False), images(6)).joined()
    assert joined.column_names == ["image"] and len(joined) == 10
    assert WithExtraImages(given, images(6), 0).joined() == (given, None)


def test_faults() -> None:
    for share in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="`extra_share` is .*; expected a share in"):
            WithExtraImages(images(4), images(4), share)
    tensors = Dataset.from_dict({"pixel_values": np.zeros((2, 3, 4, 4)).tolist()})
    for extra in (tensors, Rows(3), images(4).select([]), images(4).with_transform(dict)):
        with pytest.raises(ValueError, match="`extra` is a .*; expected an HF `Dataset` with at least one image"):
            WithExtraImages(images(4), extra)
    with pytest.raises(ValueError, match=r"`images` holds \['teacher_logits'\]"):
        WithExtraImages(images(2).add_column("teacher_logits", [[0.0], [1.0]]), images(4))
    check_walk(20, Extra(7, 0.25), True)
    check_walk(20, Extra(6, 0.25), False)
    with pytest.raises(ValueError, match="6 extra images, of which 7 come beside 20 .*Lower `extra_share` to 0.23"):
        check_walk(20, Extra(6, 0.25), True)
    check_walk(20, Extra(6, 0.23), True)
