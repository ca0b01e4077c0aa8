"""What a source may have beside the protocol."""

from torch import nn

from exrep_hf.teacher import compile_source


class ModuleSource(nn.Module):
    """A user's source that is a module, and so has a `compile` of torch's."""


class Compiling:
    """A source that compiles its answers, as ours do."""

    def __init__(self) -> None:
        self.got: list[tuple[str | None, str | None]] = []

    def compile(self, backend: str | None, mode: str | None) -> None:
        self.got.append((backend, mode))


def test_a_module_is_left_as_it_is() -> None:
    """Torch's own `compile` takes other arguments."""
    source = ModuleSource()
    compile_source(source, "inductor", None)  # type: ignore[arg-type]
    assert source._compiled_call_impl is None


def test_a_source_compiles_its_answers() -> None:
    source = Compiling()
    compile_source(source, "eager", "default")  # type: ignore[arg-type]
    assert source.got == [("eager", "default")]
