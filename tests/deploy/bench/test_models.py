"""The classifiers that are measured together."""

import logging
from pathlib import Path

import pytest
from bundles import written

from kdsweep.deploy.bench.contenders import bundle_of
from kdsweep.deploy.bench.models import named_models
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.teachers import teacher_of
from kdsweep.report.sources.address import Address


def entry(folder: Path, seed: int) -> dict[str, str]:
    """A teacher in a folder of its own, as a student's manifest names it."""
    run = {"name": f"t{seed}", "fingerprint": f"f00d{seed:012}"}
    written(folder / "checkpoint", seed, run=run)
    return {**run, "folder": str(folder)}


def test_models_come_in_the_order_of_the_words_and_each_teacher_once(tmp_path: Path) -> None:
    teacher = entry(tmp_path / "teacher", 3)
    for number in (1, 2):
        written(tmp_path / str(number), number, run={"name": "kl"}, teachers=(teacher,))
    words = [str(tmp_path / "2"), str(tmp_path / "1")]
    found = named_models(words, Address(), teachers=True)
    assert [name for name, _ in found] == ["kl", "kl (2)", "t3"]
    assert found[0][1].source["folder"] == words[0]
    assert len(named_models(words, Address(), teachers=False)) == 2


def test_a_teacher_that_is_not_here_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "student", run={"name": "kl"}, teachers=({"name": "vgg13"},))
    with caplog.at_level(logging.WARNING):
        found = named_models([str(tmp_path / "student")], Address(), teachers=True)
    assert [name for name, _ in found] == ["kl"]
    assert "without its teacher: SOURCE must be a run with its teacher's weights" in caplog.text


def test_an_ensemble_has_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the current folder either."""
    entries = tuple(entry(tmp_path / str(seed), seed) for seed in (1, 2))
    student = read_bundle(written(tmp_path / "student", teachers=entries))
    monkeypatch.chdir(tmp_path / "student")
    assert bundle_of(teacher_of(student, Address().open)) is None
    assert bundle_of(student) == tmp_path / "student"
