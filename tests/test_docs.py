"""The site of docs/ builds without warnings, contains every page and loads no external resource."""

import os
import re
import subprocess
import sys
import traceback
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
from kdsweep.execution import cohort
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.training.trainer import fit

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
NEW = (
    *("index", "tutorial", "lockstep", "resume", "statistics", "tracking", "configuration"),
    "cluster",
)
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in NEW}
COMMANDS = [
    line.partition(" #")[0].removeprefix("$ ").split(" ", 1)[1]
    for page in PAGES.values()
    for line in re.findall(r"^    ((?:\$ )?kdsweep .*)$", page, re.MULTILINE)
]
# Elements that a browser loads automatically, with the attribute of the URL.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "link": "href",
    "video": "src",
    "object": "data",
}
NOT_FETCHED = {"canonical", "prev", "next", "alternate"}  # links without a request


def pages_of(nav: Any) -> Iterator[str]:
    """The files in a nav."""
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages_of(entry)


def test_every_page_is_in_the_nav() -> None:
    nav = yaml.safe_load((TOP / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(nav)) == sorted(path.name for path in DOCS.glob("*.md"))


def test_commands_of_the_pages_are_commands_of_kdsweep() -> None:
    program: Any = get_command(app)
    assert len(COMMANDS) >= 8
    for line in COMMANDS:
        name, *arguments = re.findall(r'"[^"]*"|\S+', line)
        program.commands[name].make_context(name, [word.strip('"') for word in arguments])


@pytest.mark.parametrize("page", ["architecture", "work_units"])
def test_the_architecture_names_what_is_there(page: str) -> None:
    """Its files are in the package, and its functions and classes are defined in some of them."""
    text = (DOCS / f"{page}.md").read_text()
    package = TOP / "kdsweep"
    code = "\n".join(path.read_text() for path in package.rglob("*.py"))
    named = [
        name for name in re.findall(r"`([\w/.]+)`", text) if not re.search(r"\bx\.|_x\.", name)
    ]
    files = [name for name in named if name.endswith(".py") and name != "train.py"]
    assert len(files) > (10 if page == "architecture" else 2)
    for name in files:
        top = package if not name.startswith(("kdsweep", "tests", "benchmarks")) else TOP
        assert (top / name).is_file(), name
    names = [name.split(".")[-1] for name in named if re.fullmatch(r"(\w+\.)?\w+", name)]
    code_like = [name for name in names if re.search(r"[A-Z]\w*[a-z]|[a-z]_[a-z]", name)]
    assert len(code_like) > 10
    pairs = re.findall(r"\b(?:def|class) (\w+)|^ *(\w+):", code, re.MULTILINE)
    assert set(code_like) <= {name for pair in pairs for name in pair}


@pytest.mark.parametrize(
    "room",
    [
        *("common", "data/images", "data/pipeline", "deploy", "execution", "losses/base"),
        *("search", "sweeps", "sweeps/estimate", "work"),
    ],
)
def test_a_room_with_many_files_lists_them(room: str) -> None:
    folder = TOP / "kdsweep" / room
    text = (folder / "__init__.py").read_text()
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert not {name for name in modules if not re.search(rf"\b{name}\b", text)}


@pytest.mark.ci
def test_the_architecture_names_the_files_from_the_command_line_to_the_loop(
    command: Command, own_teachers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose functions are on the stack when a sweep is trained, in this order."""
    chains: list[list[str]] = []
    package = TOP / "kdsweep"

    def watched(*arguments: Any, **options: Any) -> None:
        frames = [Path(frame.filename) for frame in traceback.extract_stack()]
        own = [str(path.relative_to(package)) for path in frames if package in path.parents]
        chains.append([*dict.fromkeys(own), "training/trainer.py"])
        chains[-1].remove("cli/hydra_errors.py")  # around Hydra's report of errors, no step
        fit(*arguments, **options)

    monkeypatch.setattr(cohort, "fit", watched)
    assert command("T=1,4", "trainer.epochs=1", own_teachers).code == 0
    (sentence,) = re.findall(
        r"From the command line to `fit` there are six files:(.*?)\n\n",
        (DOCS / "architecture.md").read_text(),
        re.DOTALL,
    )
    files = re.findall(r"`([\w/.]+)`", sentence)
    assert len(files) == 6
    assert chains == [files, files]  # of the teacher and of the cohort


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
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])
    assert compute_loss(names["L1"](weight=1.0, **node), student, teacher) == pytest.approx(1.5)


def test_the_error_message_is_the_printed_one(command: Command) -> None:
    words, message = re.findall(
        r"^    \$ python train\.py (.*)\n    (.*)$", PAGES["configuration"], re.MULTILINE
    )[0]
    outcome = command(*words.split())
    assert outcome.code == 1
    assert outcome.err.strip() == message


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
    """Collects the resources that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.resources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and set((values.get("rel") or "").split()) <= NOT_FETCHED:
            return
        if tag in FETCHED and (url := values.get(FETCHED[tag])) is not None:
            self.resources.append(url)
        self.resources += re.findall(r"url\(\s*[\"']?([^\"')]+)", values.get("style") or "")


def is_external(url: str) -> bool:
    return re.match(r"\s*(https?:)?//", url) is not None


@pytest.mark.slow
def test_the_site_loads_no_external_resource(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert {path.stem for path in DOCS.glob("*.md")} <= {path.stem for path in pages}
    for path in pages:
        parser = Fetches()
        parser.feed(path.read_text())
        assert len(parser.resources) >= 3, path
        assert [url for url in parser.resources if is_external(url)] == [], path
    for path in site.rglob("*.css"):
        fetched = re.findall(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s]+)", path.read_text())
        assert [url for url in fetched if is_external(url)] == [], path


@pytest.mark.slow
@pytest.mark.browser
def test_the_site_opens_from_its_folder_and_can_be_searched(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        requests: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("textbox", name="Search").press_sequentially("Holm")
        page.locator(".md-search-result__item a[href*='statistics']").first.click()
        page.get_by_role("heading", name="Significance tests").wait_for()
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert errors == []
