"""report.md: everything of the report but its figures."""

from collections.abc import Sequence

from kdsweep.report.answer import HEADER, NOTE, lines
from kdsweep.report.report import Report
from kdsweep.report.section import Line, Section, Table


def markdown(found: Report) -> str:
    """The report as a page of text."""
    parts = [
        f"# {found.name}",
        _list(found.answer),
        _table(Table(HEADER, lines(found.grid), NOTE)),
        *(_section(section) for section in found.sections if section.sentences or section.tables),
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    tables = [_table(table) for table in section.tables]
    told = [_list(section.sentences)] if section.sentences else []
    return "\n\n".join([f"## {section.title}", *told, *tables])


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(table: Table) -> str:
    rules = ("---", *("---:" for _ in table.header[1:]))
    rows = "\n".join(_row(line) for line in (table.header, rules, *table.rows))
    return f"{rows}\n\n{table.note}" if table.note else rows


def _row(line: Line) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |"
