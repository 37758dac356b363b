"""Command lines that are wrong in one way each: refused in sentences, never by a traceback."""

import re
from contextlib import closing
from pathlib import Path

import hydra
import pytest
from damaged_words import Damaged, Damager, config_of
from hydra.core.global_hydra import GlobalHydra

from kdsweep.cli import CONF
from kdsweep.config.composition import Composition
from kdsweep.config.malformed import parse
from kdsweep.config.refusals import Checker
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.preflight import preflight
from kdsweep.tracking.console import Progress

SEED = 20_261_128
# Of Hydra's, OmegaConf's and ANTLR's own messages.
RAW = ("full_key", "object_type", "TrainConfig", "Key '", "ould not be", "mismatched", "expecting")
AS_TYPED = ("wrong type", "too large", "negative", "missing file")
TRACKING = {"uri": None, "plots": "none", "tensorboard": False, "checkpoint_seconds": 0}


@pytest.fixture(scope="module")
def composition() -> Composition:
    with hydra.initialize_config_dir(str(CONF)):
        return Composition(GlobalHydra.instance().config_loader())


def sentences(line: Damaged, checker: Checker) -> list[str]:
    """What a command line is refused with, up to and including the checks before training."""
    overrides, found = parse(line.words)
    found += checker.all_faults(overrides)
    if found or line.kind != "missing file":
        return found
    try:
        with closing(TrainingContext(TRACKING, Progress())) as context:
            config = config_of(checker.composition, line.words)
            preflight(build_specs([config], [line.words], 0, []), context.dataset)
    except UserError as error:
        return str(error).splitlines()
    return []


def refuse(line: Damaged, checker: Checker, damager: Damager) -> None:
    try:
        found = sentences(line, checker)
    except Exception as error:
        raise AssertionError(f"{line} ends in a traceback") from error
    assert found, f"{line} is not refused"
    text = "\n".join(found)
    begins = (f"{line.key} ", f"{line.key}.")
    assert any(sentence.startswith(begins) for sentence in found), f"{line} is not named: {text}"
    if line.kind in AS_TYPED:
        typed = line.words[-1].partition("=")[2]
        empty = typed == "''" and "got nothing" in text
        one = f"got {typed.rpartition(',')[2]}" in text  # the wrong one of several values
        in_a_list = f" in {typed}" in text  # `got 1 in [1]`
        assert f"got {typed}" in text or one or in_a_list or empty, f"{line}: {text}"
    assert not [raw for raw in RAW if raw in text], f"{line}: {text}"
    assert all(" must " in sentence for sentence in found), f"{line}: {text}"
    groups = checker.composition.groups()
    exist = {*damager.keys, *groups, "range"}
    exist |= {option for group in groups for option in checker.composition.options(group)}
    named = re.findall(r"did you mean (\S+)\?", text)
    assert set(named) <= exist, f"{line}: {text}"


@pytest.mark.ci
def test_200(composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    print(f"seed {SEED}")
    damager, checker = Damager(composition, SEED), Checker(composition)
    for _ in range(200):
        refuse(damager.draw(), checker, damager)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_5000(composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    print(f"seed {SEED + 1}")
    damager, checker = Damager(composition, SEED + 1), Checker(composition)
    for _ in range(5000):
        refuse(damager.draw(), checker, damager)
    assert list(tmp_path.iterdir()) == []
