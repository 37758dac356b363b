"""`kdsweep compare`: two runs, what they differ in and what they say of the same images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.errors import UserError
from kdsweep.report.compare import RunComparison, compare_runs, find_run, sentences
from kdsweep.report.sources.collection import Run
from kdsweep.report.sources.lookup import Address
from kdsweep.tracking.predictions import Predictions
from kdsweep.tracking.results_table import COLUMNS

CONFIG: dict[str, Any] = {"T": 4.0, "dataset": {"name": "digits"}, "loss": {}, "tracking": {"a": 1}}


class Made:
    """A run with the given predictions."""

    history: list[Any] = []  # noqa: RUF012
    teacher_predictions = None
    deployed: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, name: str, right: list[bool] | None, **config: Any) -> None:
        self.row = dict.fromkeys(COLUMNS) | {"name": name, "test/acc": 0.5, "epochs": 3}
        self.config = CONFIG | config
        self.predictions = None if right is None else _predictions(right)


def _predictions(right: list[bool]) -> Predictions:
    labels = np.arange(len(right)) % 2
    message = np.where(right, labels, 1 - labels)
    return Predictions({"test": np.eye(2, dtype=np.float32)[message]}, {"test": labels}, ("a", "b"))


def test_images_are_counted_and_tested() -> None:
    # 8 images that only the first has right, 2 that only the second: 2 * P(X <= 2), X ~ B(10, 1/2)
    first = Made("first", [True] * 8 + [False] * 2 + [True] * 6 + [False] * 4)
    second = Made("second", [False] * 8 + [True] * 2 + [True] * 6 + [False] * 4)
    found = compare_runs(first, second)
    assert found.contingency is not None
    assert (found.contingency.both, found.contingency.neither) == (6, 4)
    assert (
        found.contingency.only_first,
        found.contingency.only_second,
        found.contingency.images,
    ) == (8, 2, 20)
    assert found.contingency.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    message = " ".join(sentences(found))
    counts = "Of 20 test images 6 are right in both runs, 4 wrong in both, 8 right in first"
    assert counts in message
    assert "p = 0.109, on these images neither is shown to be better" in message


def test_equal_predictions_have_a_p_value_of_one() -> None:
    found = compare_runs(Made("a", [True, False]), Made("b", [True, False])).contingency
    assert found is not None
    assert found.p == 1.0


def test_the_better_of_two_is_named() -> None:
    right, wrong = Made("right", [True] * 10), Made("wrong", [False] * 10)
    for couple in ((right, wrong), (wrong, right)):
        assert "right is better than wrong" in sentences(compare_runs(*couple))[1]


def test_configs_are_compared_in_what_alters_results() -> None:
    ours = Made("a", [True], tracking={"a": 2}, optimizer={"lr": 0.1})
    found = compare_runs(ours, Made("b", [True], T=1.0))
    assert found.differences == [("T", "4.0", "1.0"), ("optimizer.lr", "0.1", "")]
    assert ("test/acc", "50.00 %", "50.00 %", "+0.00") in found.metrics
    assert ("epochs", "3", "3", "+0") in found.metrics
    assert not any(name == "seconds" for name, *_ in found.metrics)


def test_without_predictions_the_rest_is_compared() -> None:
    found = compare_runs(Made("a", [True]), Made("b", None))
    assert found.contingency is None
    assert sentences(found)[0].startswith("b has kept no predictions")


@pytest.mark.parametrize(
    ("right", "config", "message"),
    [
        ([True] * 3, {}, "must be measured on the same test images, got 2 and 3 with other labels"),
        ([True] * 2, {"dataset": {"name": "mnist"}}, "dataset.name=digits and dataset.name=mnist"),
    ],
)
def test_other_images_are_refused(right: list[bool], config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare_runs(Made("a", [True] * 2), Made("b", right, **config))


def compared(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["compare", *words], env={"COLUMNS": "160"})
    return answer.exit_code, answer.output


COMMON = {"fingerprint": "f" * 16, "params": {}, "tags": {}, "started": 1}


def test_runs_are_found_by_name_and_as_the_best_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = Path("multirun/mine")
    sweep.mkdir(parents=True)
    write_json_atomic(sweep / "sweep.json", {"name": "mine", "created": 0})
    for number, accuracy in enumerate((0.5, 0.75)):
        (sweep / str(number)).mkdir()
        result = {"status": "FINISHED", "name": f"kl seed={number}", "val/acc": accuracy}
        write_json_atomic(sweep / str(number) / "result.json", result)
        write_json_atomic(sweep / str(number) / "run.json", {"name": f"kl seed={number}"} | COMMON)
    words = ("mine/1", "mine/best", "kl seed=1")
    assert [find_run(word, Address()).row["run"] for word in words] == [1, 1, 1]


@pytest.mark.slow
def test_runs_are_found_by_folder_by_id_and_by_the_beginning_of_one(command: Command) -> None:
    outcome = command("loss=ce,kl", "T=1,4", tracking=True)
    assert outcome.code == 0, outcome.err
    rows = outcome.rows
    assert rows[1]["same_as"] == "0"
    ids = [str(row["mlflow_run_id"]) for row in rows]

    def comparison_of(first: Run, second: Run) -> RunComparison:
        found = compare_runs(first, second)
        assert found.contingency is not None
        assert found.contingency.images == 40
        return found

    folders = [find_run(str(outcome.sweep / str(n)), Address()) for n in (0, 3)]
    by_id = [find_run(ids[n], Address()) for n in (0, 3)]
    assert comparison_of(folders[0], folders[1]) == comparison_of(by_id[0], by_id[1])
    folded = find_run(str(outcome.sweep / "1"), Address())
    assert folded.config == folders[0].config
    code, message = compared(ids[0][:12], str(outcome.sweep / "3"))
    assert code == 0, message
    assert "loss.kl.T" in message
    assert "Of 40 test images" in message
    sweep = read_json(outcome.sweep / "sweep.json")["parent_run_id"]
    for words, expected in {
        (sweep, ids[0]): "RUN must be a single run, got multirun/",
        ("f" * 32, ids[0]): "RUN must be the id of a run of the experiment, got ffff",
        ("nowhere", ids[0]): "RUN must be a run's folder, its id in MLflow, its fingerprint or",
        (str(outcome.sweep), ids[0]): f"RUN must be a single run, got {outcome.sweep}, a sweep of",
    }.items():
        code, message = compared(*words)
        assert code == 1
        assert message.startswith(expected)


def test_an_id_that_begins_several_is_refused(
    fresh_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import made_run

    from kdsweep.tracking.mlflow.store import MLflowStore

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(fresh_database.read_bytes())
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    real = made_run(store, "", tmp_path / "0", 1, 0)
    both = [store.client.get_run(real)] * 2
    monkeypatch.setattr(MLflowStore, "search", lambda *words: both)
    with pytest.raises(UserError, match=f"RUN must be the id of one run, got {real[:4]}, which"):
        find_run(real[:4], Address())
