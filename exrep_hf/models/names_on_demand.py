"""Names of a package that are imported when they are first asked for, so that its import takes no time."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def names_on_demand(package: str, names_of: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`: its names, and the modules in it, which need not be imported by themselves.

    Args:
        package: its full name.
        names_of: the names that are imported from each module in it.
    """
    origins = {name: module for module, names in names_of.items() for name in names}

    def get(name: str) -> Any:
        if name in origins:
            value = getattr(importlib.import_module(f"{package}.{origins[name]}"), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}") is not None:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return get
