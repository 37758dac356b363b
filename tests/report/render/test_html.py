"""report.html: self-contained, escaped, and what a browser makes of it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from measured import ce_rows, measured, soft_rows
from pages import chromium, expect
from rows import row, rows

from kdsweep.plotting.samples import draw_samples
from kdsweep.report.files import write_report
from kdsweep.report.render.html import SHOWN, page, typeset
from kdsweep.report.report import Report, report
from kdsweep.report.sections.section import Picture, Section

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (1280, 800)
MINUS = "\N{MINUS SIGN}"


def body(found: Report) -> str:
    """The page without the style and, so that it is small, without plotly's script."""
    return page(found, plotly_js="").rpartition("</head>")[2]


def test_no_part_of_the_report_fails(made: Report) -> None:
    sentences = [sentence for section in made.sections for sentence in section.sentences]
    assert not [sentence for sentence in sentences if "could not be made" in sentence]


def test_the_script_is_in_it_once_and_nothing_is_fetched(made: Report) -> None:
    text = page(made)
    assert text.count("plotly.js v") == 1
    assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=.?(https?:)?//", text)
    assert "@import" not in text[: text.index("<script>")]
    assert text.count('class="plotly-graph-div"') == 6


def test_a_report_without_figures_is_small() -> None:
    text = page(report(measured([row("kl", 0, None)])))
    assert len(text) < 20_000
    assert "No run has finished" in text


def test_the_conclusions_come_first_then_the_cells(made: Report) -> None:
    text = body(made)
    assert text.index("beats ce") < text.index('class="cells"') < text.index("<h2>T and alpha</h2>")
    assert text.count('<tr class="best">') == 1
    assert text.count('class="BEATS"') == 6


def test_names_are_escaped() -> None:
    name = "kl student=<script>alert(1)</script>"
    found = report(measured([{**r, "loss": "kl"} for r in rows(name, 0.9)]))
    text = body(found)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_runs_lead_to_their_pages_and_lost_ones_are_crossed_out() -> None:
    runs = [row("kl T=4", 0, 0.9, mlflow_run_id="f00"), row("kl T=9", 0, None, mlflow_run_id="bad")]
    links = {"f00": "http://127.0.0.1:5000/#/experiments/1/runs/f00"}
    text = body(report(measured(runs, links=links)))
    assert f'<a href="{links["f00"]}" title="FINISHED">0</a>' in text
    assert '<span title="FAILED" class="lost">0</span>' in text


def test_a_section_that_fails_is_replaced_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("kdsweep.report.sections.heatmap.section", broken)
    found = report(measured(soft_rows((1, 4), (0.9,), seeds=2)))
    assert found.sections[0].title == "T and alpha"
    assert found.sections[0].sentences == ["This part could not be made (RuntimeError: no ink)."]
    assert "kl T=4 alpha=0.9 came first" in body(found)


def test_many_cells_are_folded_away() -> None:
    found = report(measured([r for n in range(SHOWN + 7) for r in rows(f"kl T={n}", 0.9, seeds=2)]))
    assert "<summary>7 more cells</summary>" in body(found)


def test_figures_are_set_as_in_print_and_names_are_not() -> None:
    assert typeset("-0.06 [-1.04, +0.93], 1 +- 0.5") == f"{MINUS}0.06 [{MINUS}1.04, +0.93], 1 ± 0.5"
    assert typeset("kl lr=1e-3 momentum=-1 resnet-20") == "kl lr=1e-3 momentum=-1 resnet-20"


@pytest.mark.browser
def test_a_browser_shows_it_without_a_network(tmp_path: Path) -> None:
    found = write_report(measured([*ce_rows(), *soft_rows()], tmp_path, optimism=0.01))
    requested: list[str] = []
    broken: list[str] = []
    with chromium() as browser:
        for width in WIDTHS:
            shown = browser.new_page(viewport={"width": width, "height": 900})
            shown.on("request", lambda request: requested.append(request.url))
            shown.on("pageerror", lambda error: broken.append(str(error)))
            shown.on("console", lambda message: broken.append(f"{message.type}: {message.text}"))
            shown.goto((tmp_path / "report.html").as_uri())
            see(shown, found)
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            shown.screenshot(path=tmp_path / f"report-{width}.png", full_page=True)
            shown.close()
    assert broken == []
    assert {url.partition(":")[0] for url in requested} <= {"file", "data", "blob"}, requested


def see(shown: "Page", found: Report) -> None:
    expect(shown.locator(".conclusions p").first).to_contain_text("kl T=4 alpha=0.9 beats ce")
    for section in found.sections:
        expect(shown.get_by_role("heading", name=section.title, exact=True)).to_be_visible()
    figures = sum(len(section.figures) for section in found.sections)
    expect(shown.locator(".plotly-graph-div .main-svg:first-child")).to_have_count(figures)
    expect(shown.locator(".heatmaplayer text").first).to_be_visible()
    cells = shown.locator(".cells tbody tr")
    expect(cells).to_have_count(7)
    expect(cells.first).to_contain_text("kl T=4 alpha=0.9")
    shown.locator(".cells th").filter(has_text="test/acc").click()
    shown.locator(".cells th").filter(has_text="test/acc").click()
    expect(cells.first).not_to_contain_text("kl T=4")
    expect(cells.last).to_contain_text("kl T=4")


def test_a_picture_is_in_the_page(made: Report, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    draw_samples(np.zeros((2, 1, 4, 4), np.uint8), [0, 1], ["a", "b"], path)
    pictured = Section("T and alpha", ["Look."], pictures=[Picture(path, "two digits")])
    text = body(replace(made, sections=[pictured]))
    assert '<img src="data:image/png;base64,iVBOR' in text
    assert "<figcaption>two digits</figcaption>" in text
