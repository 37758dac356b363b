"""report.md and the description in MLflow: what comes from outside is text, never markup."""

import html
import re

import pytest
from measured import ce_rows, measured
from rows import rows

from kdsweep.report.mlflow_publish import description
from kdsweep.report.render.markdown import item, markdown, plain
from kdsweep.report.report import report

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert(1)</script>",
    "<!-- hidden",
    "a|b",
    "`code` and ``` fence",
    "**bold** _slanted_ ~~gone~~",
    "![picture](https://evil.example/x.png) [link](javascript:alert(1))",
    "&lt;b&gt; &#60;",
    "two\nlines\n\n# title",
    r"\input{/etc/passwd} \[x\] \`",
    "<https://evil.example>",
    "https://evil.example/a_b http:evil.example HTTPS://evil.example _http://evil.example_",
    "www.evil.example Www.evil.example ftp://evil.example other://evil.example",
    "mailto:a@evil.example a@evil.example @someone",
    "[x]: http://evil.example",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_with_markup_is_shown_as_it_is(name: str) -> None:
    from markdown import markdown as rendered  # the renderer of the documentation's site

    page = rendered(f"| a | b |\n|---|---|\n| {plain(name)} | x |", extensions=["tables"])
    assert page.count("<td>") == 2, page
    cell = page.split("<td>")[1].split("</td>")[0]
    assert "<" not in cell, cell
    cell = html.unescape(cell)
    assert cell.replace("\\|", "|").replace("\\~", "~") == " ".join(name.split())


@pytest.mark.parametrize("name", ["kl T=4 alpha=0.5", "train_fraction=0.5", "p < 0.001, 3 > 2"])
def test_a_plain_name_stays_readable(name: str) -> None:
    assert plain(name) == name
    assert item(name) == f"- {name}"


BLOCKS = [
    "# title",
    "> quote",
    "- list",
    "1. first",
    "10. ten",
    "1234) many",
    "+ plus",
    "   # indented",
    "    code",
    "[x]: http://evil.example",
    "[]: x",
]


@pytest.mark.parametrize("sentence", BLOCKS)
def test_a_sentence_begins_nothing_else(sentence: str) -> None:
    from markdown import markdown as rendered

    page = rendered(item(sentence))
    assert page.count("<li>") == 1
    assert not any(tag in page for tag in ("<h1", "<blockquote", "<ol", "<code"))
    inside = page.split("<li>")[1].split("</li>")[0]
    assert html.unescape(inside).replace("\\)", ")") == sentence.strip()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_address_becomes_a_link_by_itself(name: str) -> None:
    """As MLflow's and GitHub's renderers make them: without any markup."""
    for text in (plain(name), item(name)):
        assert not re.search(r"(https?|ftp|mailto):\S|://|www\.\S|@\w", text, re.IGNORECASE)


def test_no_text_of_the_report_has_markup_of_others() -> None:
    made = [{**r, "loss": "kl"} for name in HOSTILE for r in rows(f"kl x={name}", 0.9, seeds=3)]
    made[0] |= {"status": "FAILED", "reason": "<img src=y> `boom` | end", "test/acc": None}
    found = report(measured([*ce_rows(), *made]))
    for text in (markdown(found), description(found)):
        assert "<img" not in text
        assert "<script" not in text
        assert "](" not in text
        assert "`code`" not in text.replace("\\`", "")
        assert "\n# title" not in text
