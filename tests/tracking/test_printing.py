"""Lines and tables at any width: a path or an address is neither wrapped nor cut."""

import io
import logging

import pytest
from rich.console import Console
from rich.table import Table

from kdsweep.tracking.printing import print_line, print_table, printed

PATH = "/scratch/" + "/".join(f"folder-{number:02}" for number in range(20))


def printed_on(width: int, terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, force_terminal=terminal, color_system=None), file


@pytest.mark.parametrize("width", [1, 40, 80])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_is_printed_as_it_is(width: int, terminal: bool) -> None:
    console, file = printed_on(width, terminal)
    for text in (PATH, "[red]a[/red] [link=x] :smile: http://a:1/#/experiments/1"):
        print_line(console, text)
        assert file.getvalue().endswith(f"{text}\n")


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("overflow", ["fold", "ellipsis"])
def test_a_table_gets_wider_for_a_path(width: int, overflow: str) -> None:
    console, file = printed_on(width)
    table = Table("run", "cell")
    table.add_column("status", overflow=overflow)  # type: ignore[arg-type]
    table.add_row("0", "kl T=4 " * 9, rf"FAILED: \[Errno 5] cannot continue in {PATH}, broken")
    print_table(console, table)
    assert PATH in file.getvalue()


def test_a_quoted_path_may_have_spaces() -> None:
    console, file = printed_on(40)
    table = Table("config", "a", "b")
    table.add_row("dataset.root", '"/data/a folder of images/of 2026"', "null")
    print_table(console, table)
    assert '"/data/a folder of images/of 2026"' in file.getvalue()


def test_numbers_are_whole_and_texts_readable_at_any_width() -> None:
    console, file = printed_on(30)
    table = Table()
    for name in ("run", "seed", "val/acc", "test/acc"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cell", overflow="fold")
    table.add_row("0", "12", "98.77", "97.65", "kl T=4 alpha=0.5 seed=12")
    print_table(console, table)
    for text in ("seed", "val/acc", "98.77", "97.65", "kl T=4 alpha=0.5"):
        assert f" {text} " in file.getvalue()


def test_a_table_without_a_path_keeps_to_the_width() -> None:
    console, file = printed_on(40)
    table = Table("run", "cell")
    table.add_row("[link=http://a/b/c/d/e/f/g/h/i/j/k]0[/link]", "kl T=4 " * 30)
    print_table(console, table)
    assert max(map(len, file.getvalue().splitlines())) == 40


def test_messages_of_a_logger_are_printed_and_go_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger, lines = logging.getLogger("some.part.below"), []
    with printed(logging.getLogger("some.part"), logging.WARNING, lines.append):
        logger.warning("%s is odd", "x")
        logger.info("nothing")
    logger.warning("outside")
    assert lines == ["x is odd"]
    assert caplog.messages == ["outside"]
