"""Packages that offer parts by an entry point, with configs on Hydra's search path."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command

from kdsweep.config.allow import allow, allowed_modules
from kdsweep.config.offered_parts import offered_parts

LOSS = """
from kdsweep import LogitTerm


class L1(LogitTerm):
    def compare(self, student_logits, teacher_logits, labels):
        return (student_logits - teacher_logits).abs().mean()
"""
YAML = "offered:\n  _target_: offered_lab.L1\n  weight: ${alpha}\n  schedule: null\n"


@pytest.fixture
def installed(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as pip installs it, in a folder of sys.path."""
    site = own_modules / "site"
    package, metadata = site / "offered_lab", site / "offered_lab-1.0.dist-info"
    (package / "conf" / "loss").mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text(LOSS)
    (package / "conf" / "loss" / "offered.yaml").write_text(YAML)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offered-lab\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kdsweep.parts]\nlab = offered_lab\n")
    monkeypatch.syspath_prepend(site)
    offered_parts.cache_clear()
    yield package
    offered_parts.cache_clear()


def test_an_installed_package_offers_its_parts(installed: Path) -> None:
    (parts,) = offered_parts()
    assert parts == ("lab", "offered_lab")
    assert parts.configs == installed / "conf"
    allow()
    assert allowed_modules() == ("offered_lab",)


@pytest.mark.ci
def test_its_options_are_among_those_of_the_groups(installed: Path, command: Command) -> None:
    outcome = command("loss=offered", "teacher=none", "student=mlp", "dry_run=true")
    assert "teacher must be a model for these loss terms" in outcome.err
    outcome = command("loss=[kl,offered]", "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["loss"] == "kl+offered"


def test_a_package_without_configs_has_none(installed: Path) -> None:
    (installed / "conf" / "loss" / "offered.yaml").unlink()
    (installed / "conf" / "loss").rmdir()
    (installed / "conf").rmdir()
    (parts,) = offered_parts()
    assert parts.configs is None
    assert parts._replace(module="offered_lab.nowhere").configs is None
