"""What a report is made of, by the words that name it; several sweeps as one."""

from pathlib import Path
from typing import Any

import pytest
from commands import Command
from omegaconf import OmegaConf
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sources.collection import RunCollection
from kdsweep.report.sources.lookup import Address, find
from kdsweep.report.sources.merge import labels, merge
from kdsweep.tracking.result import RESULT_KEYS
from kdsweep.tracking.run_dir import CONFIG, RESULT

CONFIGS: dict[str, Any] = {
    "dataset": {"name": "digits", "source": {"_target_": "Digits"}, "test_fraction": 0.4},
    "student": {"name": "mlp", "model": {"width": 64}, "features": {"maps": []}},
    "teacher": {"name": "cnn", "model": {"width": 32}, "trainer": {"epochs": 8, "threads": 1}},
    "loss": {"kl": {"T": "${T}", "weight": "${alpha}"}},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.02},
    "trainer": {"epochs": 60, "threads": 1, "device": "auto"},
}


class Sweeps:
    """Makes sweeps' folders as training leaves them, without training."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(
        self, name: str, *runs: tuple[str, int, str], mark: str = "", **changes: Any
    ) -> Path:
        """A sweep of runs (cell, seed, overrides of the config); ``changes`` hold for all."""
        folder = self.home / "multirun" / name
        for number, (cell, seed, words) in enumerate(runs):
            self._run(folder / str(number), cell, seed, words, mark, changes)
        note = {"name": f"words of {name}", "parent_run_id": None, "tracking_uri": None}
        write_json_atomic(folder / "sweep.json", note | {"created": 0.0, "fingerprints": {}})
        return folder

    def _run(
        self, folder: Path, cell: str, seed: int, words: str, mark: str, changes: dict[str, Any]
    ) -> None:
        folder.mkdir(parents=True)
        values = dict(w.split("=") for w in cell.split()[1:] if w.startswith(("T=", "alpha=")))
        config = OmegaConf.merge(CONFIGS, {"T": 4.0, "alpha": 0.5}, changes)
        config.merge_with_dotlist([*(f"{k}={v}" for k, v in values.items()), *words.split()])
        if cell.startswith("ce"):
            config.loss = {}
        resolved = OmegaConf.to_container(config, resolve=True)
        OmegaConf.save(resolved, folder / CONFIG)
        hashed = {k: v for k, v in resolved.items() if cell.startswith("kl") or k != "teacher"}
        result = dict.fromkeys(RESULT_KEYS) | {
            "status": "FINISHED",
            "name": f"{cell} seed={seed}",
            "cell": cell,
            "seed": seed,
            "loss": cell.split()[0],
            "teacher": "cnn" if cell.startswith("kl") else None,
            "fingerprint": f"{mark}{seed}{hashed}",
            "val/acc": 0.9,
            "test/acc": 0.9,
            **{key: float(value) for key, value in values.items()},
        }
        write_json_atomic(folder / RESULT, result)


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    monkeypatch.chdir(tmp_path)
    return Sweeps(tmp_path)


def cells(found: RunCollection) -> dict[str, int]:
    """Name of each cell -> how many seeds it has."""
    return {cell.name: cell.test.n if cell.test else 0 for cell in grid(found.rows).cells}


KL = "kl T=4 alpha=0.5"


def test_more_seeds_of_the_same_cells_are_the_same_cells(sweeps: Sweeps) -> None:
    sweeps("2026-11-21/10-00-00", (KL, 0, ""), (KL, 1, ""), ("ce", 0, ""))
    sweeps("2026-11-21/11-00-00", (KL, 1, ""), (KL, 2, ""))
    found = find(["2026-11-21/10-00-00", "2026-11-21/11-00-00"]).collection
    assert cells(found) == {KL: 3, "ce": 1}
    assert found.name == "words of 2026-11-21/10-00-00 + words of 2026-11-21/11-00-00"
    (again,) = (row for row in found.rows if row["same_as"] is not None)
    assert (again["run"], again["same_as"]) == ("2026-11-21/11-00-00/0", "2026-11-21/10-00-00/1")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"optimizer": {"lr": 0.1}}, "optimizer.lr={}"),
        ({"student": {"name": "cnn", "model": {"width": 8}}}, "student={}"),
        ({"student": {"model": {"width": 8}}}, "student.model.width={}"),
        ({"optimizer": {"_target_": "torch.optim.SGD"}}, "optimizer={}"),
        ({"trainer": {"epochs": 6}}, "trainer.epochs={}"),
    ],
)
def test_what_sweeps_do_not_name_and_differ_in_is_put_into_the_cells(
    sweeps: Sweeps, change: dict[str, Any], word: str
) -> None:
    sweeps("one", (KL, 0, ""), ("ce", 0, ""))
    sweeps("other", (KL, 0, ""), ("ce", 0, ""), **change)
    before, after = {
        "optimizer.lr={}": ("0.02", "0.1"),
        "student={}": ("mlp", "cnn"),
        "student.model.width={}": ("64", "8"),
        "optimizer={}": ("AdamW", "SGD"),
        "trainer.epochs={}": ("60", "6"),
    }[word]
    found = find(["one", "other"]).collection
    words = [word.format(before), word.format(after)]
    assert set(cells(found)) == {f"{cell} {message}" for cell in (KL, "ce") for message in words}
    assert grid(found.rows).baselines == {f"{KL} {message}": f"ce {message}" for message in words}


def test_another_teacher_distinguishes_only_cells_that_have_one(sweeps: Sweeps) -> None:
    sweeps("one", (KL, 0, ""), ("ce", 0, ""))
    sweeps("other", (KL, 0, ""), ("ce", 0, ""), teacher={"trainer": {"epochs": 30}})
    found = find(["one", "other"]).collection
    names = {f"{KL} teacher.trainer.epochs={epochs}": 1 for epochs in (8, 30)}
    assert cells(found) == names | {"ce": 1}
    assert set(grid(found.rows).baselines.values()) == {"ce"}


def test_settings_that_one_sweep_names_are_in_the_names_of_the_other(sweeps: Sweeps) -> None:
    rates = [(f"{KL} optimizer.lr={lr}", 0, f"optimizer.lr={lr}") for lr in (0.02, 0.1)]
    sweeps("one", *rates)
    sweeps("other", (KL, 0, ""), (KL, 1, ""))
    found = find(["one", "other"]).collection
    assert cells(found) == {f"{KL} optimizer.lr=0.02": 2, f"{KL} optimizer.lr=0.1": 1}


def test_settings_are_in_the_same_order_in_both_sweeps(sweeps: Sweeps) -> None:
    """Also behind alpha, and of a key that selects a group of another package."""
    swept = ("loss@teacher.loss=dkd", "dataset.val_fraction=0.1")
    sweeps("one", (f"{KL} {swept[0]} {swept[1]}", 0, ""))
    sweeps("other", (f"{KL} {swept[1]} {swept[0]}", 1, ""))
    assert cells(find(["one", "other"]).collection) == {f"{KL} {swept[1]} {swept[0]}": 2}


def test_other_settings_of_a_loss_that_one_sweep_alone_has_are_no_difference(
    sweeps: Sweeps,
) -> None:
    sweeps("one", (KL, 0, ""), ("kl T=1 alpha=0.5", 0, ""))
    sweeps("other", ("ce", 0, ""))
    sweeps("third", ("kl T=9 alpha=0.9", 0, ""))
    found = find(["one", "other", "third"]).collection
    assert set(cells(found)) == {KL, "kl T=1 alpha=0.5", "ce", "kl T=9 alpha=0.9"}


def test_where_a_run_was_trained_is_no_difference(sweeps: Sweeps) -> None:
    sweeps("one", (KL, 0, ""))
    sweeps("other", (KL, 1, ""), trainer={"threads": 8, "device": "cuda"}, mark="cuda")
    assert cells(find(["one", "other"]).collection) == {KL: 2}


def test_one_run_under_two_fingerprints_is_refused(sweeps: Sweeps) -> None:
    sweeps("one", (KL, 0, ""))
    sweeps("other", (KL, 0, ""), mark="other numerics")
    with pytest.raises(UserError, match=r"got two of kl T=4 alpha=0.5 seed=0, one/0 and other/0"):
        find(["one", "other"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "cifar10"}, "dataset.name=digits in one and dataset.name=cifar10 in other"),
        ({"split_seed": 7}, "dataset.split_seed=None in one and dataset.split_seed=7 in other"),
        (
            {"source": {"_target_": "x.ImageFolder", "root": "/data/birds"}},
            "dataset.source._target_",
        ),
    ],
)
def test_other_images_are_refused(sweeps: Sweeps, change: dict[str, Any], message: str) -> None:
    sweeps("one", (KL, 0, ""))
    sweeps("other", (KL, 0, ""), dataset=change)
    with pytest.raises(UserError, match="measured on the same images") as caught:
        find(["one", "other"])
    assert message in str(caught.value)


def test_folders_of_images_are_distinguished_by_their_names(sweeps: Sweeps) -> None:
    for name, place in {"one": "/a/birds", "moved": "/b/birds", "other": "/a/flowers"}.items():
        source = {"_target_": "x.ImageFolder", "root": place}
        sweeps(name, (KL, len(name), ""), dataset={"source": source})
    assert cells(find(["one", "moved"]).collection) == {KL: 2}
    with pytest.raises(UserError, match=r"root=birds in one and dataset.source.root=flowers"):
        find(["one", "other"])


def test_too_many_differences_are_refused_by_name(sweeps: Sweeps) -> None:
    sweeps("one", (KL, 0, ""))
    other = dict.fromkeys("abcdef", 1)
    sweeps("other", (KL, 0, ""), trainer=other)
    sweeps("third", (KL, 0, ""), trainer=dict.fromkeys("abcdef", 2))
    with pytest.raises(UserError, match=r"got 6 of them: trainer.a, trainer.b"):
        find(["other", "third"])


def test_one_sweep_is_as_it_is(sweeps: Sweeps) -> None:
    folder = sweeps("one", (KL, 0, ""))
    found = find([str(folder)]).collection
    assert merge([found]) is found
    assert labels([found]) == ["one"]
    assert find(["one", "one"]).collection.folder == Path("multirun/one")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["nowhere"],
            "SWEEP must be a sweep's folder, its name under multirun/, the id of its run",
        ),
        (["multirun"], "SWEEP must be a sweep's folder, got multirun, which has no sweep.json"),
        (
            ["params.loss = 'kl'"],
            "--uri must be an MLflow store, got sqlite:///mlflow.db, which is",
        ),
        (["0" * 32], "--uri must be an MLflow store"),
        (["x", "--uri", "nonsense://"], "SWEEP must be"),
        (["a=b", "--uri", "nonsense://"], "--uri must be sqlite:///FILE"),
    ],
)
def test_a_word_that_names_nothing_is_refused_in_a_sentence(
    sweeps: Sweeps, words: list[str], message: str
) -> None:
    sweeps("one", (KL, 0, ""))
    answer = CliRunner().invoke(app, ["report", *words])
    assert answer.exit_code == 1
    assert answer.output.startswith(message)
    assert "Traceback" not in answer.output
    assert not Path("mlflow.db").exists()


def test_another_experiment_is_refused_with_those_there_are(
    fresh_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fresh_database.parent)
    with pytest.raises(UserError, match="--experiment must be one of Default, elsewhere, got no"):
        find(["0" * 32], Address(experiment="no"))


@pytest.mark.slow
def test_a_real_sweep_is_found_by_each_of_its_names(command: Command) -> None:
    outcome = command("T=1,4", tracking=True)
    parent = read_json(outcome.sweep / "sweep.json")["parent_run_id"]
    name = outcome.sweep.relative_to(outcome.folder / "multirun").as_posix()
    for words in ([], [str(outcome.sweep)], [name], [parent]):
        source = find(words)
        assert [row["T"] for row in source.collection.rows] == [1.0, 4.0]
        assert source.parent == parent
        assert source.store() is not None
    query = find(["params.T = '4.0'"])
    assert [row["T"] for row in query.collection.rows] == [4.0]
    assert (query.parent, query.collection.folder.parent) == (None, Path("multirun/reports"))
    assert find([parent], Address(uri="sqlite:///mlflow.db")).parent == parent
    merged = find([name, parent])
    assert {row["same_as"] is None for row in merged.collection.rows} == {True, False}
