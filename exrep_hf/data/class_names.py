"""When two names mean the same class."""

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from timm.data import ImageNetInfo

_WORDNET = re.compile(r"n\d{8}")
_SUBSETS = ("imagenet-1k", "imagenet-12k", "imagenet-21k", "imagenet-21k-miil", "imagenet-22k", "imagenet-22k-ms")
# Of the names of a list, at their places: then it is ImageNet's, some of whose names stand for two classes ("crane").
_AGREEING = 0.99
_TIERS = 4

Keys = tuple[frozenset[str], ...]


def numbers_by_name(names: Sequence[str], others: Sequence[str]) -> list[list[int]]:
    """Find each of some names among others.

    A name is found by its WordNet id, which names of ImageNet have; else as it stands; else without regard to case,
    underscores and hyphens; else by one of its synonyms (`tench, Tinca tinca`). Names of two WordNet ids are two
    classes, whatever synonyms they have in common.

    Args:
        names: to find.
        others: where to find them.

    Returns:
        For each of `names` its places in `others`: one, or none, or several where it could be any of them.
    """
    if list(names) == list(others):
        return [[number] for number in range(len(names))]
    here, there = _keys(names), _keys(others)
    index: list[dict[str, set[int]]] = [defaultdict(set) for _ in range(_TIERS)]
    for number, tiers in enumerate(there):
        for tier, keys in enumerate(tiers):
            for key in keys:
                index[tier][key].add(number)
    identified = {number for number, tiers in enumerate(there) if tiers[0]}
    return [_found(tiers, index, identified) for tiers in here]


def unambiguous_names(names: Sequence[str]) -> list[str]:
    """Return WordNet ids in place of all of ImageNet's names, some of which stand for two classes; else the names."""
    return list(_wordnet_ids(tuple(names)) or names)


def words_for(names: Sequence[str]) -> list[str]:
    """Return what each of some classes is called in a sentence.

    WordNet ids become ImageNet's words, underscores spaces, and of several synonyms (`tench, Tinca tinca`) the first
    is taken; where that would be the same for two classes all are, and for two of ImageNet what they mean besides.
    """
    ids: Sequence[str | None]
    ids = _wordnet_ids(tuple(names)) or [name if _WORDNET.fullmatch(name) else None for name in names]
    described = [name if own is None else _description(own) or name for name, own in zip(names, ids, strict=True)]
    words = [" ".join(name.replace("_", " ").split()) for name in described]
    words = _told_apart([each.split(",")[0].strip() or each for each in words], words)
    return _told_apart(words, [_description(own, True) or word for own, word in zip(ids, words, strict=True)])


def _told_apart(words: list[str], longer: list[str]) -> list[str]:
    """Return longer words for those that several classes have."""
    count = Counter(word.casefold() for word in words)
    return [more if count[word.casefold()] > 1 else word for word, more in zip(words, longer, strict=True)]


def _description(wordnet_id: str | None, detailed: bool = False) -> str | None:
    """Return ImageNet's words for a WordNet id; None where it is not ImageNet's."""
    if wordnet_id is None:
        return None
    try:
        return _imagenet(_SUBSETS[0]).label_name_to_description(wordnet_id, detailed).replace(": ", ", ", 1)
    except KeyError:
        return None


def _found(tiers: Keys, index: list[dict[str, set[int]]], identified: set[int]) -> list[int]:
    for tier, keys in enumerate(tiers):
        found = set().union(*(index[tier].get(key, set()) for key in keys))
        # A teddy bear is no chemise, which is called teddy too.
        if tier and tiers[0]:
            found -= identified
        if found:
            return sorted(found)
    return []


def _keys(names: Sequence[str]) -> list[Keys]:
    """Return what each name can be found by, the surest first: WordNet id, itself, its spelling, its synonyms."""
    ids = _wordnet_ids(tuple(names))
    keys: list[Keys] = []
    for place, name in enumerate(names):
        spelt = _spelt(name)
        own = ids[place] if ids else spelt if _WORDNET.fullmatch(spelt) else None
        synonyms = ({_spelt(part) for part in name.split(",")} | _lemmas(own)) - {""}
        keys.append((frozenset([own] if own else ()), frozenset([name]), frozenset([spelt]), frozenset(synonyms)))
    return keys


def _spelt(name: str) -> str:
    """Return a name without regard to case, separators and width of characters."""
    return re.sub(r"[\s_/-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


@functools.lru_cache(maxsize=8)
def _wordnet_ids(names: tuple[str, ...]) -> list[str] | None:
    """Return the WordNet id of each name, if these are ImageNet's classes in ImageNet's order."""
    for subset in _SUBSETS if len(names) >= 1000 else ():
        info = _imagenet(subset)
        if info.num_classes() != len(names):
            continue
        ids = info.label_names()
        agreeing = sum(
            _spelt(name) == own or not {_spelt(part) for part in name.split(",")}.isdisjoint(_lemmas(own))
            for name, own in zip(names, ids, strict=True)
        )
        if agreeing >= _AGREEING * len(names):
            return ids
    return None


def _lemmas(wordnet_id: str | None) -> set[str]:
    """Return the words of a WordNet id; none where it is not ImageNet's."""
    words = _description(wordnet_id)
    return set() if words is None else {_spelt(part) for part in words.split(",")}


@functools.cache
def _imagenet(subset: str) -> ImageNetInfo:
    return ImageNetInfo(subset)
