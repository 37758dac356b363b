"""Which sweeps another version of kdsweep began, one that computes other numbers."""

from pathlib import Path
from typing import Any

import pytest
from commands import Specs

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.errors import UserError
from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.sweeps.directory import refuse_another
from kdsweep.sweeps.other_numerics import find_with_other_numerics, has_other_numerics
from kdsweep.sweeps.record import open_sweep

RUNS = {"0": "f" * 16}
NOTE = {"fingerprints": RUNS, "numerics": NUMERICS - 1}


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (NOTE, True),
        ({**NOTE, "numerics": NUMERICS}, False),
        ({**NOTE, "numerics": NUMERICS + 1}, True),  # a later version, of another checkout
        ({**NOTE, "fingerprints": {}}, False),  # nothing to be taken for a run of this one
        (None, False),
    ],
)
def test_a_sweep_of_other_numbers_is_known_by_its_note(
    note: dict[str, Any] | None, expected: bool
) -> None:
    assert has_other_numerics(note) == expected


def write(folder: Path, name: str, created: float, **facts: Any) -> Path:
    folder.mkdir(parents=True)
    write_json_atomic(folder / "sweep.json", {"name": name, "created": created, **facts})
    return folder


def test_the_latest_one_of_the_same_command_line_is_found(tmp_path: Path) -> None:
    write(tmp_path / "day" / "first", "loss=kl T=1,4", 1.0, **NOTE)
    second = write(tmp_path / "day" / "second", "loss=kl T=1,4 tracking=none", 2.0, **NOTE)
    write(tmp_path / "of_this_version", "loss=kl T=1,4", 3.0, fingerprints=RUNS, numerics=NUMERICS)
    write(tmp_path / "of_other_words", "loss=kl T=1,8", 4.0, **NOTE)
    assert find_with_other_numerics(tmp_path, "loss=kl T=1,4 resume=true") == second
    assert find_with_other_numerics(tmp_path, "loss=kl T=1") is None
    assert find_with_other_numerics(tmp_path, "resume=true") is None
    defaults = write(tmp_path / "defaults", "defaults", 5.0, **NOTE)
    assert find_with_other_numerics(tmp_path, "resume=true") == defaults
    write(tmp_path / "recipe", "experiment=tutorial_ce", 6.0, **NOTE)
    assert find_with_other_numerics(tmp_path, "experiment=tutorial_cosine") is None


def test_a_note_without_numerics_is_of_a_version_before_they_were_recorded(tmp_path: Path) -> None:
    folder = write(tmp_path / "old", "loss=kl", 1.0, fingerprints=RUNS)
    assert find_with_other_numerics(tmp_path, "loss=kl") == folder


def test_a_sweep_records_its_numerics_and_is_refused_to_another_version(
    tmp_path: Path, specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = specs(["T=1"])
    open_sweep(tmp_path, None, name="T=1", role="sweep", nested=False, specs=runs, alone=True)
    assert read_json(tmp_path / "sweep.json")["numerics"] == NUMERICS
    refuse_another(tmp_path, runs, whole=True)
    monkeypatch.setattr("kdsweep.runs.fingerprint.NUMERICS", NUMERICS + 1)
    monkeypatch.setattr("kdsweep.sweeps.other_numerics.NUMERICS", NUMERICS + 1)
    with pytest.raises(UserError, match=r"which holds runs of a version .* computes other numbers"):
        refuse_another(tmp_path, specs(["T=1"]), whole=True)
