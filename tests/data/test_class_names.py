from hypothesis import given
from hypothesis import strategies as st
from timm.data import ImageNetInfo

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
