"""Units are read as they were written, and refused in one sentence where that is not possible."""

import json
import math
from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.work.unit_file import (
    Root,
    UnitFile,
    UnitRun,
    numbers,
    read_unit,
    unit_path,
    write_unit,
)


def unit(number: int = 0, **config: object) -> UnitFile:
    root = Root(
        config=config, cell={"name": "kl", "loss": "kl"}, number=0, overrides=("T=1",), swept=()
    )
    run = UnitRun(
        name="kl T=1 seed=0",
        fingerprint="0123456789abcdef",
        folder="0",
        further=("0/peers/second",),
        epochs=3,
        parent_run_id=None,
        root=0,
    )
    return UnitFile(
        number=number,
        role="run",
        name=run.name,
        needs=(1, 2),
        place=(1, 3),
        cwd="/somewhere",
        parent_run_id="parent",
        roots=(root,),
        runs=(run,),
    )


def test_a_unit_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = unit(3, lr=0.1, steps={30: 0.1, 60: 0.01}, clip=math.inf, nested={"a": [1, None]})
    write_unit(tmp_path, written)
    assert read_unit(tmp_path, 3) == written
    assert numbers(tmp_path) == [3]


def test_there_are_no_units_where_there_are_no_workers(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []
    with pytest.raises(UserError, match="FOLDER must be the folder of a sweep with work units"):
        read_unit(tmp_path, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "N must be a work unit that can be read, got 1"),
        (
            '{"version": 2}',
            "must be of a kdsweep that writes version 1 of work units, got version 2",
        ),
        ('{"version": 1, "number": 1}', "must be a work unit, got something else"),
    ],
)
def test_a_file_that_is_no_unit_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    write_unit(tmp_path, unit(1))
    unit_path(tmp_path, 1).write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_unit(tmp_path, 1)


def test_a_number_that_no_unit_has_is_refused(tmp_path: Path) -> None:
    for number in (0, 1, 10):
        write_unit(tmp_path, unit(number))
    with pytest.raises(UserError, match="N must be a work unit from 0 to 10, got 4"):
        read_unit(tmp_path, 4)


def test_a_unit_is_plain_json(tmp_path: Path) -> None:
    write_unit(tmp_path, unit(0, lr=0.1))
    content = json.loads(unit_path(tmp_path, 0).read_text())
    assert content["roots"][0]["config"] == {"lr": 0.1}
    assert content["runs"][0]["further"] == ["0/peers/second"]
