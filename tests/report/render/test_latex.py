"""table.tex: a table that LaTeX takes, whatever a cell is called."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from measured import ce_rows, soft_rows
from rows import Row, rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.render.latex import tex

PAGE = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


HOSTILE = [
    r"\input{secret}",
    r"\write18{touch owned}",
    r"\end{tabular}\end{table}",
    "a_b=5% {#1}",
    "$x^2 & y \\\\ z~",
    "}{",
    "two\n\nparagraphs",
    "<img src=x> | `code`",
    "[0.5] -- --- '' ``",
]


def made() -> list[Row]:
    return [*ce_rows(), *soft_rows()]


def lines(text: str) -> list[str]:
    return text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]


def test_a_table_has_the_rules_of_booktabs_and_a_row_a_cell() -> None:
    text = tex(grid(made()))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\end{table}"):
        assert text.count(rule) == 1
    assert len(lines(text)) == 7
    assert all(line.count("&") == 5 and line.endswith(r"\\") for line in lines(text))
    assert all(line.count("$") % 2 == 0 for line in text.splitlines())


def test_the_best_is_bold_and_ties_have_a_dagger() -> None:
    best, tied, *others = lines(tex(grid(made())))
    assert best.startswith(r"\textbf{kl T=4 alpha=0.9} & $5$ &")
    assert r"$\mathbf{93." in best
    assert tied.startswith(r"kl T=4 alpha=0.5$^{\dagger}$ &")
    assert not [line for line in others if "dagger" in line or "textbf" in line]


def test_differences_have_interval_and_verdict() -> None:
    best, *others = lines(tex(grid(made())))
    assert re.search(r"\$\+1\d\.\d\d\\ \[\+\d+\.\d\d, \+\d+\.\d\d\]\$ & beats", best)
    assert next(line for line in others if line.startswith("ce")).endswith(r"&  &  \\")


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("kl a_b=5%", r"kl a\_b=5\%"),
        ("kl x=#1&2", r"kl x=\#1\&2"),
        ("kl x={$y}", r"kl x=\{\$y\}"),
        ("kl x=a\\b~c^d", r"kl x=a\textbackslash b\textasciitilde c\textasciicircum d"),
    ],
)
def test_names_are_escaped(name: str, escaped: str) -> None:
    found = tex(grid([{**r, "loss": "kl"} for r in rows(name, 0.9)]))
    assert lines(found)[0].replace("\\space ", " ").startswith(rf"\textbf{{{escaped}}} &")


def test_one_seed_has_no_spread_and_a_sentence() -> None:
    text = tex(grid(soft_rows(seeds=1)))
    assert not any(r"\pm" in line for line in lines(text))
    assert "One seed: nothing can be concluded." in text


def test_no_finished_run_is_a_table_without_rows() -> None:
    assert lines(tex(grid([]))) == []


@pytest.mark.slow
def test_latex_sets_it(tmp_path: Path) -> None:
    latex = shutil.which("pdflatex") or shutil.which("tectonic")
    if latex is None:
        pytest.skip("no LaTeX on this machine")
    odd = [{**r, "loss": "kl"} for name in HOSTILE for r in rows(f"kl x={name}", 0.9)]
    (tmp_path / "secret.tex").write_text("CONTENT")
    (tmp_path / "page.tex").write_text(PAGE % tex(grid([*made(), *odd])))
    words = ["-interaction=nonstopmode"] if "pdflatex" in latex else []
    done = subprocess.run(
        [latex, *words, "page.tex"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    assert "secret.tex" not in log, "a name was executed"
