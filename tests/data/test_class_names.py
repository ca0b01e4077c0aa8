import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data import ImageNetInfo
from transformers import TimmWrapperConfig

from exrep_hf.data.class_names import numbers_by_name

IMAGENET = ImageNetInfo("imagenet-1k")
WORDS, IDS = list(IMAGENET.label_descriptions()), IMAGENET.label_names()


def test_spelling_is_no_difference() -> None:
    """Folders spell what models say with blanks and capitals."""
    assert numbers_by_name(
        ["ANT", "golden_retriever", "t-shirt/top"], ["T - shirt / top", "Golden retriever", "ant"]
    ) == [
        [2],
        [1],
        [0],
    ]
    assert numbers_by_name(["straße", "Ａ"], ["a", "STRASSE"]) == [[1], [0]]


def test_a_name_as_it_stands_goes_before_one_that_is_spelt_alike() -> None:
    assert numbers_by_name(["a_b", "A b"], ["A b", "a_b", "a-b"]) == [[1], [0]]
    assert numbers_by_name(["A-B"], ["A b", "a_b"]) == [[0, 1]]


def test_synonyms() -> None:
    assert numbers_by_name(["tench", "Tinca tinca", "carp"], WORDS[:3]) == [[0], [0], []]
    assert numbers_by_name(["goldfish, Carassius auratus"], ["Goldfish"]) == [[0]]


def test_wordnet_ids_and_words_are_the_same_classes() -> None:
    """Imagenette's folders are ids; models have words, one of them for two classes."""
    imagenette = ["n01440764", "n02102040", "n02979186", "n03000684", "n03028079"]
    assert numbers_by_name(imagenette, WORDS) == [[0], [217], [482], [491], [497]]
    assert numbers_by_name(WORDS[:3], [*reversed(IDS[:3])]) == [[2], [1], [0]]
    assert numbers_by_name(["tench", "English springer"], imagenette) == [[0], [1]]
    assert numbers_by_name(IDS, WORDS) == [[number] for number in range(1000)]


def test_words_of_two_classes() -> None:
    """A crane is a bird and a machine: by ImageNet's whole list it is told which, alone it can't be."""
    assert numbers_by_name(WORDS, list(WORDS)) == [[number] for number in range(1000)]
    assert numbers_by_name(["crane"], WORDS) == [[134, 517]]
    other_spelling = [*WORDS[:134], "crane bird", *WORDS[135:]]
    assert numbers_by_name(other_spelling, WORDS) == [[number] for number in range(1000)]
    shuffled = [WORDS[number] for number in reversed(range(1000))]
    found = numbers_by_name(shuffled, WORDS)
    assert all(999 - number in places for number, places in enumerate(found))


def test_a_larger_imagenet_knows_the_smaller_one() -> None:
    larger = ImageNetInfo("imagenet-12k")
    shared = [name for name in IDS if name in set(larger.label_names())][:50]
    found = numbers_by_name(shared, list(larger.label_descriptions()))
    assert found == [[larger.label_names().index(name)] for name in shared]


@given(
    st.lists(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=6), unique=True, max_size=8),
    st.randoms(),
)
def test_any_order_of_any_names(names: list[str], random: object) -> None:
    """Names as they stand are found where they stand, whatever they are."""
    order = list(range(len(names)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = [names[number] for number in order]
    assert numbers_by_name(names, shuffled) == [[order.index(number)] for number in range(len(names))]


HEADS = {"imagenet-12k": 11821, "imagenet-22k": 21841, "imagenet-21k": 21843, "imagenet-1k": 1000}
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@pytest.mark.parametrize(("subset", "count"), HEADS.items())
def test_heads_of_imagenet(subset: str, count: int) -> None:
    """Imagenette by folder and by word, and ImageNet-1k, under the names that transformers gives timm's heads."""
    head = list(TimmWrapperConfig.from_dict({"architecture": "resnet18", "num_classes": count}).id2label.values())
    ids, of_1k = ImageNetInfo(subset).label_names(), ImageNetInfo("imagenet-1k")
    for names in (list(IMAGENETTE), list(IMAGENETTE.values())):
        assert [[ids[place] for place in places] for places in numbers_by_name(names, head)] == [
            [wordnet_id] for wordnet_id in IMAGENETTE
        ]
    words = [of_1k.label_name_to_description(wordnet_id) for wordnet_id in of_1k.label_names()]
    found = numbers_by_name(words, head)
    for wordnet_id, places in zip(of_1k.label_names(), found, strict=True):
        # A teddy bear is no chemise, which is a teddy too.
        assert [ids[place] for place in places] == ([wordnet_id] if wordnet_id in ids else [])
    missing = [wordnet_id for wordnet_id, places in zip(of_1k.label_names(), found, strict=True) if not places]
    assert len(missing) == {11821: 7, 21841: 1, 21843: 1, 1000: 0}[count]
