"""Every train.py line of the README runs, scaled down."""

import re
import shlex
from pathlib import Path

import pytest
from commands import Command

README = Path(__file__).parents[1] / "README.md"
COMMANDS = re.findall(r"^    python train\.py(.*)$", README.read_text(), re.MULTILINE)


def test_the_readme_shows_how_to_use_it() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_readme(command: Command, words: str) -> None:
    scaled = [word.replace("n_trials=16", "n_trials=2") for word in shlex.split(words)]
    outcome = command(*scaled)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}
