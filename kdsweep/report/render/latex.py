"""table.tex: the table of cells for a paper, with the rules of booktabs."""

from typing import Any

from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.statistics import ALPHA, Comparison, Summary
from kdsweep.report.conclusions import METHOD

COLUMNS = ("Cell", "$n$", r"Validation (\%)", r"Test (\%)", r"vs.\ CE (points)", "Verdict")
DAGGER = r"$^{\dagger}$"
PACKAGES = "% \\usepackage{booktabs}\n"


def tex(grid: Grid) -> str:
    r"""A `table` of all cells that have a mean on test, the best on validation first, in bold.

    What is tied with the best has a dagger. Names are escaped; figures are math.
    """
    from pandas import DataFrame, IndexSlice

    cells = [cell for cell in grid.cells if cell.test is not None]
    rows = [_row(cell, is_best=cell is grid.best) for cell in cells]
    style: Any = DataFrame(rows, columns=list(COLUMNS), dtype=object).style.hide(axis="index")
    style = style.format(escape="latex", subset=["Cell"])
    if tied := [place for place, cell in enumerate(cells) if _is_tied(cell)]:
        subset = IndexSlice[tied, ["Cell"]]
        style = style.format(lambda name: name + DAGGER, escape="latex", subset=subset)
    if best := [place for place, cell in enumerate(cells) if cell is grid.best]:
        style = style.set_properties(subset=IndexSlice[best, ["Cell"]], textbf="--rwrap")
    table = style.to_latex(
        hrules=True,
        column_format="lrrrrl",
        position="t",
        position_float="centering",
        caption=_caption(grid),
        label="tab:kdsweep",
    )
    return f"{PACKAGES}{table}"


def _row(cell: Cell, *, is_best: bool) -> tuple[str, ...]:
    against = cell.against_baseline
    return (
        cell.name,
        f"${cell.test.n if cell.test else 0}$",
        _mean_and_sd(cell.val),
        _mean_and_sd(cell.test, is_bold=is_best),
        "" if against is None else _difference(against),
        "" if against is None else str(against.verdict or "").lower(),
    )


def _mean_and_sd(found: Summary | None, *, is_bold: bool = False) -> str:
    if found is None:
        return ""
    mean = f"{100 * found.mean:.2f}"
    mean = rf"\mathbf{{{mean}}}" if is_bold else mean
    return f"${mean}$" if found.sd is None else rf"${mean} \pm {100 * found.sd:.2f}$"


def _difference(found: Comparison) -> str:
    if found.difference is None:
        return ""
    mean = f"{100 * found.difference:+.2f}"
    if found.interval is None:
        return f"${mean}$"
    low, high = found.interval
    return rf"${mean}\ [{100 * low:+.2f}, {100 * high:+.2f}]$"


def _is_tied(cell: Cell) -> bool:
    return cell.against_best is not None and cell.against_best.verdict == "TIED"


def _caption(grid: Grid) -> str:
    told = [r"Accuracy in percent: mean $\pm$ sample standard deviation over $n$ seeds."]
    if grid.best is not None:
        told.append("Bold: chosen on validation, shown on test.")
    if grid.seeds < 2:
        return " ".join([*told, "One seed: nothing can be concluded."])
    if grid.best is not None:
        told.append(rf"{DAGGER}: not shown to differ from it.")
    told.append(
        r"vs.\ CE: difference to cross-entropy alone over shared seeds with its 95\,\% interval,"
        rf" and the verdict of a {METHOD}; Holm-corrected, $\alpha={ALPHA:g}$."
    )
    return " ".join(told)
