"""report.md: everything of the report but its figures."""

import re
from collections.abc import Sequence

from kdsweep.report.conclusions import HEADER, NOTE, lines
from kdsweep.report.report import Report
from kdsweep.report.sections.section import Line, Section, Table

# What would be read as markup: tags and entities, code, emphasis, links, escapes of these. Bare
# addresses become links without any markup, and no backslash prevents it.
_MARKUP = (
    (re.compile(r"&(?=#?\w+;)"), "&amp;"),
    (re.compile(r"(https?|ftp|dict|mailto):(?=\S)|:(?=//)", re.IGNORECASE), r"\1&#58;"),
    (re.compile(r"(www)\.(?=\S)", re.IGNORECASE), r"\1&#46;"),
    (re.compile(r"@(?=\w)"), "&#64;"),
    (re.compile(r"\\(?=[!-/:-@\[-`{-~])"), r"\\\\"),
    (re.compile(r"<(?=[A-Za-z/!?])"), "&lt;"),
    (re.compile(r"(?<=\])\("), r"\\("),
    (re.compile(r"(?<=~)~"), r"\\~"),
    (re.compile(r"[`*|]|(?<![^\W_])_|_(?![^\W_])"), r"\\\g<0>"),
    (re.compile(r"\s*[\r\n]+\s*"), " "),
)
# What begins a block of another kind: a title, a quote, a list, a fence, the target of a link.
_BLOCK = re.compile(r"^(?=[>#+=-]|~~~|\[[^\]]*\]:)|^(\d+)(?=[.)](?:\s|$))")


def plain(text: str) -> str:
    """A text as it is, in markdown: names, values and reasons come from outside.

    Tags become entities, because MLflow's renderer knows no backslash before them.
    """
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def markdown(found: Report) -> str:
    """The report as a page of text."""
    parts = [
        f"# {plain(found.name)}",
        _list(found.conclusions),
        _table(Table(HEADER, lines(found.grid), NOTE)),
        *(_section(section) for section in found.sections if section.sentences or section.tables),
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    tables = [_table(table) for table in section.tables]
    told = [_list(section.sentences)] if section.sentences else []
    return "\n\n".join([f"## {plain(section.title)}", *told, *tables])


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(item(sentence) for sentence in sentences)


def item(sentence: str) -> str:
    """A sentence of a list."""
    return f"- {paragraph(sentence)}"


def paragraph(text: str) -> str:
    """A text of its own, as it is."""
    return _BLOCK.sub(r"\1\\", plain(text).strip())


def _table(table: Table) -> str:
    rules = ("---", *("---:" for _ in table.header[1:]))
    rows = "\n".join(_row(line) for line in (table.header, rules, *table.rows))
    return f"{rows}\n\n{paragraph(table.note)}" if table.note else rows


def _row(line: Line) -> str:
    return f"| {' | '.join(map(plain, line))} |"
