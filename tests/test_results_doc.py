"""docs/results.md: its published figures are those of the recipes."""

import re
from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf

from kdsweep.cli import CONF

RESULTS = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
EXPERIMENT = CONF / "experiment"


def tables() -> Iterator[list[list[str]]]:
    """Every table of the page: its header and its rows."""
    for block in re.findall(r"(?:^\|.*\n)+", RESULTS, re.MULTILINE):
        lines = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in block.split("\n")]
        header, _, *rows = [line for line in lines if line]
        yield [header, *rows]


def test_every_figure_of_a_pair_is_that_of_its_yaml() -> None:
    compared = 0
    pairs = [table for table in tables() if table[0][0] == "method"]
    names = {name for (_, *columns), *_ in pairs for name in columns}
    assert names == {path.stem for path in (EXPERIMENT / "pair").glob("*.yaml")}
    for (_, *columns), *rows in pairs:
        for column, name in enumerate(columns, start=1):
            known = OmegaConf.load(EXPERIMENT / "pair" / f"{name}.yaml").published
            listed = {row[0]: float(row[column]) for row in rows if row[column]}
            assert listed == {"teacher alone": known.teacher, **known.acc}
            compared += len(listed)
    assert compared > 100


def test_every_published_figure_of_a_recipe_is_that_of_its_yaml() -> None:
    (table,) = (table for table in tables() if table[0][0] == "recipe")
    listed: dict[str, dict[str, float]] = {}
    for recipe, cell, published, mean, _, n in table[1:]:
        listed.setdefault(recipe, {})[cell] = float(published)
        assert 0 < float(mean) < 100
        assert int(n) >= 3
    names = [path.stem for path in EXPERIMENT.glob("*.yaml")]
    assert sorted(listed) == sorted(n for n in names if n.startswith(("kd_pytorch", "tutorial")))
    for recipe, cells in listed.items():
        assert cells == dict(OmegaConf.load(EXPERIMENT / f"{recipe}.yaml").published.acc)
