"""Settings in YAML: plain values alone, each named once."""

from collections.abc import Hashable
from typing import Any

import yaml

from exrep_hf.untrusted import LOADER, check_shape

_MERGED = "tag:yaml.org,2002:merge"


class _EachOnce(LOADER):
    """Refuses a key that stands twice: YAML's own loader takes the last, and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGED:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` stands twice; expected each setting once", key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(text: str, what: str) -> Any:
    """Return what a text in YAML holds.

    Args:
        text: of a file, or a flag.
        what: what messages call it.

    Raises:
        ValueError: if it is no YAML of plain values, or names a setting twice.
    """
    try:
        check_shape(text, "it")
        return yaml.load(text, _EachOnce)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(
            f"{what} can't be read as YAML ({error}); expected a mapping from setting to value."
        ) from error
