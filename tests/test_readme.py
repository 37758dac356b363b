"""Every train.py line of the README runs, scaled down; those of docs/teaching.md are checked."""

import re
import shlex
from pathlib import Path

import pytest
from commands import Command

TOP = Path(__file__).parents[1]
COMMANDS, TEACHING = (
    re.findall(r"^    python train\.py(.*)$", (TOP / page).read_text(), re.MULTILINE)
    for page in ("README.md", "docs/teaching.md")
)


def test_the_readme_shows_how_to_use_it() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_readme(command: Command, words: str) -> None:
    scaled = [word.replace("n_trials=16", "n_trials=2") for word in shlex.split(words)]
    outcome = command(*scaled)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize("words", TEACHING)
def test_a_command_of_the_page_on_teaching(command: Command, words: str) -> None:
    outcome = command(
        *shlex.split(words, comments=True), "dry_run=true", "tracking=none", tiny=False
    )
    assert outcome.code == 0, outcome.err
    assert "nothing was trained" in outcome.out
