"""Names that would be more than text in Markdown."""

import pytest
from markdown_it import MarkdownIt

from exrep_hf.training.markdown import harmless, plain, prose

READER = MarkdownIt("gfm-like", {"html": True, "linkify": False})


@pytest.mark.parametrize(
    "name",
    [
        *("timm/resnet18.a1_in1k", "T - shirt / top", "exrep+critic", "µm, 日本", "a_b", "R&B", "-40 °C", "x=1; y"),
        *("a|b", "`rm`", "<script>alert(1)</script>", "<!-- hidden", "*bold*", "__init__", "_x_", "[a](https://b.c)"),
        *("~~gone~~", "&lt;", "a\\|b", "@me", "![x](y)", "$x$", "https://evil.example"),
    ],
)
def test_shown_as_it_is(name: str) -> None:
    """In a table's cell and in a sentence, whatever is in it."""
    shown = plain(harmless(name))
    [table] = [READER.render(f"| class | % |\n|---|---|\n| {shown} | 1 |\n")]
    text = READER.render(f"Of {shown} much is known.")
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<td>{escaped}</td>\n<td>1</td>" in table
    assert text == f"<p>Of {escaped} much is known.</p>\n"


@pytest.mark.parametrize("name", ["a\nb", "a\r\n---\nb", "a\u2028b", "a\tb", "a\x1b[31mb", "a\u202eb"])
def test_on_one_line(name: str) -> None:
    assert harmless(name).isprintable() and len(harmless(name).splitlines()) == 1


def test_sentences_of_ours() -> None:
    """Names between backticks stay code, whatever is in them; a backtick too many makes none."""
    assert prose("it is what `a_b` does, `_x_` and _y_") == "it is what `a_b` does, `_x_` and \\_y\\_"
    assert prose("`<b>` | `` ` x`") == "`&lt;b>` &vert;  ` x`"
    assert prose("one ` alone") == "one &grave; alone"


def test_within_others() -> None:
    """Keys are names too; what is no text stays."""
    assert harmless({"a|b": [1, None, ("`",)], "c": True}) == {"a&vert;b": [1, None, ["&grave;"]], "c": True}
