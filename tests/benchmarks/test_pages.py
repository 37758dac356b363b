"""What `make bench --write` does to docs/performance.md and the README."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bench_results import results

TOP = Path(__file__).parents[2]


@pytest.fixture
def script(load: Any) -> Any:
    return load("performance")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the page and the README."""
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/performance.md"):
        shutil.copy(TOP / name, tmp_path / name)
    return tmp_path


def test_the_page_and_the_readme_are_written_between_their_markers(
    script: Any, load: Any, checkout: Path
) -> None:
    pages = load("speed.pages")
    path = checkout / "results.json"
    path.write_text(json.dumps(results()))
    for _ in range(2):  # what was written is replaced
        assert script.write(path, checkout) == 0
    page, readme = (checkout / "docs/performance.md").read_text(), checkout / "README.md"
    for name, content in load("speed.contents").blocks(results()).items():
        assert pages.block(page, name) == content
    assert pages.block(readme.read_text(), "sentence") == load("speed.summary").sentence(results())
    headings = [line for line in (TOP / "README.md").read_text().splitlines() if "#" in line]
    assert [line for line in readme.read_text().splitlines() if "#" in line] == headings


def test_results_that_lack_a_part_are_not_written(script: Any, checkout: Path) -> None:
    path = checkout / "results.json"
    part = results()
    del part["seconds"]["starts"]
    path.write_text(json.dumps(part))
    with pytest.raises(SystemExit, match=r"results.json must have all parts, it lacks starts"):
        script.write(path, checkout)
    assert (checkout / "README.md").read_text() == (TOP / "README.md").read_text()


def test_a_page_without_its_markers_is_left_as_it_is(load: Any, tmp_path: Path) -> None:
    pages = load("speed.pages")
    page = tmp_path / "page.md"
    page.write_text(f"a\n{pages.begin('one')}\nold\n{pages.END}\nb\n{pages.begin('two')}\n")
    with pytest.raises(ValueError, match="must have <!-- make bench: two -->"):
        pages.write_blocks(page, {"one": "new", "two": "new"})
    assert "old" in page.read_text()
    pages.write_blocks(page, {"one": "new"})
    begin = pages.begin("one")
    assert page.read_text().startswith(f"a\n{begin}\n\nnew\n\n{pages.END}\nb\n")


def test_the_published_figures_are_those_on_record(script: Any, load: Any) -> None:
    """README and docs have what the last `make bench` printed, or nothing."""
    pages = load("speed.pages")
    page, readme = ((TOP / n).read_text() for n in ("docs/performance.md", "README.md"))
    names = (
        *("summary", "machine", "steps", "starts", "sweeps", "disk", "memory", "many", "against"),
        "workers",
    )
    expected: tuple[dict[str, str], str] = (dict.fromkeys(names, ""), "")
    if script.RESULTS.is_file():
        known = json.loads(script.RESULTS.read_text())
        expected = (
            expected[0] | load("speed.contents").blocks(known),
            load("speed.summary").sentence(known),
        )
    assert {name: pages.block(page, name) for name in names} == expected[0]
    assert pages.block(readme, "sentence") == expected[1]
