"""report.md: everything of the report but its figures."""

import re
from collections.abc import Sequence

from kdsweep.report.cell_table import cell_table
from kdsweep.report.report import Report
from kdsweep.report.sections.section import Table

# Markup in a text: tags and entities, code, emphasis, links, escapes of these. Bare addresses
# become links without any markup, and no backslash prevents it.
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
# The start of a block of another kind: a title, a quote, a list, a fence, the target of a link.
_BLOCK = re.compile(r"^(?=[>#+=-]|~~~|\[[^\]]*\]:)|^(\d+)(?=[.)](?:\s|$))")


def plain(text: str) -> str:
    """A text as literal markdown: names, values and reasons come from outside.

    Tags become entities, because MLflow's renderer ignores a backslash before them.
    """
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def markdown(report: Report) -> str:
    """The report as a page of text."""
    title = f"# {plain(report.collection.name)}"
    parts = [title, _list(report.conclusions), _table(cell_table(report.grid))]
    for section in report.sections:
        if section.sentences or section.tables:
            parts.append(f"## {plain(section.title)}")
            parts += [_list(section.sentences)] if section.sentences else []
            parts += map(_table, section.tables)
    return "\n\n".join(parts) + "\n"


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(map(item, sentences))


def item(sentence: str) -> str:
    """A sentence of a list."""
    return f"- {paragraph(sentence)}"


def paragraph(text: str) -> str:
    """A literal text as a paragraph."""
    return _BLOCK.sub(r"\1\\", plain(text).strip())


def _table(table: Table) -> str:
    rules = ("---", *("---:" for _ in table.header[1:]))
    lines = (table.header, rules, *table.rows)
    rows = "\n".join(f"| {' | '.join(map(plain, line))} |" for line in lines)
    return f"{rows}\n\n{paragraph(table.note)}" if table.note else rows
