"""The site of docs/: it builds without a warning, lacks no page, loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import Command
from pages import chromium
from typer.main import get_command

from kdsweep.cli import app
from kdsweep.losses.base.compute_loss import compute_loss

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
NEW = ("index", "tutorial", "lockstep", "resume", "statistics", "tracking", "configuration")
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in NEW}
OURS = [
    line.partition(" #")[0].removeprefix("$ ").split(" ", 1)[1]
    for page in PAGES.values()
    for line in re.findall(r"^    ((?:\$ )?kdsweep .*)$", page, re.MULTILINE)
]
# What a browser fetches by itself, by the attribute that names it.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "link": "href",
    "video": "src",
    "object": "data",
}
NOT_FETCHED = {"canonical", "prev", "next", "alternate"}  # links that say, and load nothing


def pages_of(nav: Any) -> Iterator[str]:
    """The files that a nav names."""
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages_of(entry)


def test_every_page_is_in_the_nav() -> None:
    nav = yaml.safe_load((TOP / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(nav)) == sorted(path.name for path in DOCS.glob("*.md"))


def test_the_pages_name_words_of_kdsweep_and_their_options() -> None:
    words: Any = get_command(app)
    assert len(OURS) >= 8
    for line in OURS:
        name, *arguments = re.findall(r'"[^"]*"|\S+', line)
        words.commands[name].make_context(name, [word.strip('"') for word in arguments])


def test_the_example_of_a_loss_is_a_term() -> None:
    code, config = (
        "".join(re.findall(rf"^```{kind}\n(.*?)^```$", PAGES["configuration"], re.M | re.S))
        for kind in ("python", "yaml")
    )
    names: dict[str, Any] = {"__name__": "kdsweep.losses.l1"}
    exec(code, names)
    (node,) = yaml.safe_load(config).values()
    assert node.pop("_target_") == "kdsweep.losses.l1.L1"
    assert node.pop("weight") == "${alpha}"
    assert node.pop("schedule") is None
    ours, theirs = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])
    assert compute_loss(names["L1"](weight=1.0, **node), ours, theirs) == pytest.approx(1.5)


def test_the_refusal_is_told_as_it_is(command: Command) -> None:
    words, sentence = re.findall(
        r"^    \$ python train\.py (.*)\n    (.*)$", PAGES["configuration"], re.MULTILINE
    )[0]
    outcome = command(*words.split())
    assert outcome.code == 1
    assert outcome.err.strip() == sentence


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=TOP,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


class Fetches(HTMLParser):
    """Collects what a page has a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link" and set((told.get("rel") or "").split()) <= NOT_FETCHED:
            return
        if tag in FETCHED and (address := told.get(FETCHED[tag])) is not None:
            self.found.append(address)
        self.found += re.findall(r"url\(\s*[\"']?([^\"')]+)", told.get("style") or "")


def is_elsewhere(address: str) -> bool:
    return re.match(r"\s*(https?:)?//", address) is not None


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert {path.stem for path in DOCS.glob("*.md")} <= {path.stem for path in pages}
    for path in pages:
        parser = Fetches()
        parser.feed(path.read_text())
        assert len(parser.found) >= 3, path
        assert [address for address in parser.found if is_elsewhere(address)] == [], path
    for path in site.rglob("*.css"):
        fetched = re.findall(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s]+)", path.read_text())
        assert [address for address in fetched if is_elsewhere(address)] == [], path


@pytest.mark.slow
@pytest.mark.browser
def test_the_site_opens_from_its_folder_and_can_be_searched(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").press_sequentially("Holm")
        page.locator(".md-search-result__item a[href*='statistics']").first.click()
        page.get_by_role("heading", name="Is the difference real?").wait_for()
        assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
        assert errors == []
