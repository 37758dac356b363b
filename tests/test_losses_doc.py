"""docs/losses.md: its code runs, its commands print the shown output, its table is conf/loss."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Compose
from omegaconf import OmegaConf, open_dict
from typer.testing import CliRunner

from kdsweep.builders.losses import build_objective
from kdsweep.cli import CONF, app
from kdsweep.common.text import format_number
from kdsweep.config.resolve import resolve_config
from kdsweep.errors import UserError
from kdsweep.losses.base.weight_schedule import weight_schedule

DOC = (Path(__file__).parents[1] / "docs" / "losses.md").read_text()
FILES = sorted((CONF / "loss").glob("*.yaml"))
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    \$ kdsweep (.*)\n    (.*)$", DOC, re.MULTILINE)
SCHEDULES = re.findall(r"^\| `(\{.*?\}|null)` \|", DOC, re.MULTILINE)
COLUMNS = ("yaml", "method", "paper", "compares", "weight", "mixup", "tested")
ROWS = {
    cells[0].strip("`"): dict(zip(COLUMNS, cells, strict=True))
    for line in DOC.splitlines()
    if line.startswith("| `")
    and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == len(COLUMNS)
}
every_loss = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def node_of(path: Path) -> dict[str, Any]:
    """The unresolved term of a yaml, {} for ce."""
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(config, dict)
    return dict(config.get(path.stem, {}))


def test_the_code_blocks_run() -> None:
    assert len(BLOCKS) >= 3
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, names)


def test_the_table_and_the_sections_are_those_of_conf() -> None:
    losses = {path.stem for path in FILES}
    assert len(losses) >= 24
    assert set(ROWS) == losses
    assert sorted(re.findall(r"^### (.*)$", DOC, re.MULTILINE)) == sorted(losses)


@every_loss
def test_default_weight_and_pairs_are_those_of_the_yaml(path: Path) -> None:
    row, node = ROWS[path.stem], node_of(path)
    weight = node.get("weight", "")
    assert row["weight"] == ("`alpha`" if weight == "${alpha}" else format_number(weight))
    if "pairs" in node:
        assert f"${{pairs:{row['compares'].strip('`')}}}" == node["pairs"]
    else:
        assert row["compares"] in ("logits", "")


@every_loss
def test_mixup_is_refused_by_the_losses_marked_in_the_table(compose: Compose, path: Path) -> None:
    every = ",".join(path.stem for path in FILES)
    config = compose(f"loss=[{every}]", "student=cnn", "dataset.augment.mixup=0.2")
    with open_dict(config):
        for name in set(config.loss) - {path.stem}:
            del config.loss[name]
    values = resolve_config(config)
    if ROWS[path.stem]["mixup"] == "yes":
        build_objective(values)
    else:
        with pytest.raises(UserError, match="mixup must be 0 with loss"):
            build_objective(values)


@pytest.mark.parametrize(("words", "line"), COMMANDS)
def test_a_command_prints_the_shown_output(words: str, line: str) -> None:
    assert CliRunner().invoke(app, shlex.split(words)).stdout.splitlines()[0] == line


def test_the_schedules_are_valid() -> None:
    assert len(SCHEDULES) == 7
    for text in SCHEDULES:
        schedule = weight_schedule(yaml.safe_load(text))
        assert schedule.factor(0) == 0 if "from_zero" in text else 0 < schedule.factor(0) <= 1
        assert 0 < schedule.factor(1) <= 1
    assert len(COMMANDS) == 4
