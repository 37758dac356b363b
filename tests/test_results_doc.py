"""docs/results.md: the figures that it calls published are those of the recipes."""

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
        for place, name in enumerate(columns, start=1):
            known = OmegaConf.load(EXPERIMENT / "pair" / f"{name}.yaml").published
            told = {row[0]: float(row[place]) for row in rows if row[place]}
            assert told == {"teacher alone": known.teacher, **known.acc}
            compared += len(told)
    assert compared > 100


def test_every_figure_beside_ours_is_that_of_its_recipe() -> None:
    (table,) = (table for table in tables() if table[0][0] == "recipe")
    told: dict[str, dict[str, float]] = {}
    for recipe, cell, published, mean, _, n in table[1:]:
        told.setdefault(recipe, {})[cell] = float(published)
        assert 0 < float(mean) < 100
        assert int(n) >= 3
    names = [path.stem for path in EXPERIMENT.glob("*.yaml")]
    assert sorted(told) == sorted(n for n in names if n.startswith(("kd_pytorch", "tutorial")))
    for recipe, cells in told.items():
        assert cells == dict(OmegaConf.load(EXPERIMENT / f"{recipe}.yaml").published.acc)
