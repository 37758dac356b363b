"""table.tex: the table of cells for a paper, with the rules of booktabs."""

from typing import Any

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import ALPHA, METHOD
from kdsweep.report.cell_table import cell_row

COLUMNS = ("Cell", "$n$", r"Validation (\%)", r"Test (\%)", r"vs.\ CE (points)", "Verdict")
DAGGER = r"$^{\dagger}$"


def tex(grid: Grid) -> str:
    r"""A `table` of all cells that have a mean on test, the best on validation first, in bold.

    Ties with the best have a dagger. Names are escaped; figures are math.
    """
    from pandas import DataFrame, IndexSlice

    cells = grid.finished
    rows = [_row(cell) for cell in cells]
    style: Any = DataFrame(rows, columns=list(COLUMNS), dtype=object).style.hide(axis="index")
    style = style.format(escape="latex", subset=["Cell"])
    if tied := [n for n, cell in enumerate(cells) if cell.verdict_against_best == "TIED"]:
        subset = IndexSlice[tied, ["Cell"]]
        style = style.format(lambda name: name + DAGGER, escape="latex", subset=subset)
    if best := [n for n, cell in enumerate(cells) if cell.is_best]:
        style = style.set_properties(subset=IndexSlice[best, ["Cell"]], textbf="--rwrap")
    table = style.to_latex(
        hrules=True,
        column_format="lrrrrl",
        position="t",
        position_float="centering",
        caption=_caption(grid),
        label="tab:kdsweep",
    )
    return f"% \\usepackage{{booktabs}}\n{table}"


def _row(cell: Cell) -> tuple[str, ...]:
    row = cell_row(cell)
    test = rf"\mathbf{{{row.test}}}" if cell.is_best else row.test
    return (
        row.name,
        f"${row.n}$",
        _math(r" \pm ", row.val, row.val_sd),
        _math(r" \pm ", test, row.test_sd),
        _math(r"\ ", row.difference, row.interval),
        row.verdict.lower(),
    )


def _math(separator: str, *parts: str) -> str:
    text = separator.join(filter(None, parts))
    return f"${text}$" if text else ""


def _caption(grid: Grid) -> str:
    sentences = [r"Accuracy in percent: mean $\pm$ sample standard deviation over $n$ seeds."]
    if grid.best is not None:
        sentences.append("Bold: chosen on validation, shown on test.")
    if grid.seeds < 2:
        return " ".join([*sentences, "One seed: nothing can be concluded."])
    if grid.best is not None:
        sentences.append(rf"{DAGGER}: not shown to differ from it.")
    sentences.append(
        r"vs.\ CE: difference to cross-entropy alone over shared seeds with its 95\,\% interval,"
        rf" and the verdict of a {METHOD}; Holm-corrected, $\alpha={ALPHA:g}$."
    )
    return " ".join(sentences)
