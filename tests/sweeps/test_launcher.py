"""The lockstep launcher as Hydra and its users see it."""

from pathlib import Path
from typing import Any

import pytest
from commands import Command, Outcome, copy_of
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.sweeps.callbacks import SweepSummaryCallback


@pytest.fixture
def sweep(trained: Command) -> Outcome:
    """A sweep with a baseline: the four jobs are three runs."""
    return trained("loss=ce,kl", "T=1,4")


@pytest.fixture
def single(trained: Command, tmp_path: Path) -> Outcome:
    """A plain command's sweep, in the folder of `command`."""
    return copy_of(trained(), tmp_path)


def test_each_run_has_a_folder_with_hydras_files_and_ours(sweep: Outcome) -> None:
    for number in ("0", "2", "3"):
        folder = sweep.sweep / number
        names = {path.name for path in folder.iterdir()}
        assert names >= {".hydra", "config.yaml", "overrides.yaml", "metrics.jsonl", "result.json"}
        assert (folder / "checkpoint" / "model.safetensors").is_file()
        assert (folder / ".hydra" / "overrides.yaml").is_file()
    assert OmegaConf.load(sweep.sweep / "3" / "config.yaml").T == 4
    assert (sweep.sweep / "multirun.yaml").is_file()


def test_a_plain_command_is_a_sweep_of_one(single: Outcome) -> None:
    assert [row["cell"] for row in single.rows] == ["kl T=4 alpha=0.5"]


def test_equal_runs_are_trained_once_and_named(sweep: Outcome) -> None:
    rows = sweep.rows
    assert [row["cell"] for row in rows] == [
        "ce",
        "ce",
        "kl T=1 alpha=0.5",
        "kl T=4 alpha=0.5",
    ]
    assert [row["same_as"] for row in rows] == [None, "0", None, None]
    assert rows[0]["weights_sha256"] == rows[1]["weights_sha256"]


@pytest.mark.ci
def test_job_callbacks_fire_once_each_and_end_after_training(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, bool]] = []

    def note(event: str, config: DictConfig) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        seen.append((event, config.hydra.job.num, (folder / "result.json").is_file()))

    def start(self: SweepSummaryCallback, config: DictConfig, **kwargs: object) -> None:
        note("start", config)

    def end(
        self: SweepSummaryCallback, config: DictConfig, job_return: JobReturn, **kwargs: object
    ) -> None:
        note("end", config)
        assert 0 <= job_return.return_value <= 1
        names.append(HydraConfig.get().job.name)

    names: list[str] = []
    monkeypatch.setattr(SweepSummaryCallback, "on_job_start", start)
    monkeypatch.setattr(SweepSummaryCallback, "on_job_end", end)
    outcome = command("T=1,4", "hydra.job.name=run-${seed}-${T}")
    assert outcome.code == 0, outcome.err
    assert names == ["run-0-1.0", "run-0-4.0"]
    assert seen == [("start", 0, False), ("start", 1, False), ("end", 0, True), ("end", 1, True)]


def test_two_sweeps_of_the_same_second_do_not_share_a_folder(
    command: Command, tmp_path: Path
) -> None:
    # The second's name is fixed here, as the clock fixes it for two sweeps started together.
    from kdsweep.sweeps.directory import claim

    first = claim(tmp_path / "multirun" / "12-00-00", chosen=False)
    second = claim(tmp_path / "multirun" / "12-00-00", chosen=False)
    assert first != second
    assert second.name == "12-00-00-2"


def test_a_folder_that_holds_a_sweep_is_refused(command: Command, single: Outcome) -> None:
    folder = single.sweep.relative_to(single.folder)
    again = command(f"hydra.sweep.dir={folder}", "T=1")
    assert again.code == 1
    assert f"hydra.sweep.dir must be a folder of its own, got {folder}" in again.err
    assert "Traceback" not in again.err
    assert [row["T"] for row in again.rows] == [4]


def test_a_refused_sweep_shows_nothing_of_the_one_that_is_there(
    command: Command, single: Outcome
) -> None:
    note = single.sweep / "sweep.json"
    write_json_atomic(note, read_json(note) | {"pid": 1})  # of another process
    second = command(f"hydra.sweep.dir={single.sweep.relative_to(single.folder)}")
    assert second.code == 1
    assert "hydra.sweep.dir must be a folder of its own" in second.err
    assert "val/acc" not in second.out


@pytest.mark.slow
def test_joblib_runs_the_same_program(command: Command) -> None:
    words = ["T=1,4", "trainer.epochs=1"]
    outcome = command(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert outcome.code == 0, outcome.err
    assert [row["status"] for row in outcome.rows] == ["FINISHED", "FINISHED"]


@pytest.fixture(scope="module")
def planned(trained: Command) -> tuple[Outcome, list[str]]:
    """A dry run of four jobs, and what Hydra composed for it, in order."""
    composed: list[str] = []
    load = ConfigLoaderImpl.load_sweep_config

    def counted(self: Any, master_config: Any, sweep_overrides: list[str]) -> DictConfig:
        composed.append(" ".join(sweep_overrides))
        return load(self, master_config, sweep_overrides)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
        return trained("loss=ce,kl", "T=1,4", "dry_run=true"), composed


def test_dry_run_lists_and_trains_nothing(planned: tuple[Outcome, list[str]]) -> None:
    outcome, _ = planned
    assert outcome.code == 0, outcome.err
    assert "3 runs in 1 cohort; nothing was trained" in outcome.out
    assert "same as run 0" in outcome.out
    assert not list(outcome.folder.glob("multirun/**/result.json"))
    assert not list(outcome.folder.glob("multirun/**/sweep.json"))


def test_jobs_that_differ_in_values_are_composed_once(planned: tuple[Outcome, list[str]]) -> None:
    _, composed = planned
    assert len(composed) == len(set(composed)) == 2, "once for each loss"


def test_the_sweep_is_described(sweep: Outcome) -> None:
    note = read_json(sweep.sweep / "sweep.json")
    assert note["ended"] is True
    assert set(note["fingerprints"]) == {"0", "1", "2", "3"}
    assert "T=1,4" in note["name"]


def test_results_csv_has_a_row_a_run(sweep: Outcome) -> None:
    lines = (sweep.sweep / "results.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("run,cell,seed,val/acc")


def test_the_table_is_sorted_by_validation_and_names_the_baseline(sweep: Outcome) -> None:
    assert "vs ce" in sweep.out
    order = [row["val/acc"] for row in sorted(sweep.rows, key=lambda row: -row["val/acc"])]
    shown = [line for line in sweep.out.splitlines() if "alpha" in line or "│ ce" in line]
    assert len(shown) == 3
    assert f"{100 * order[0]:.2f}" in shown[0]


def test_batches_of_a_sweep_are_one_sweep(command: Command) -> None:
    words = ["T=1,4", "hydra.sweeper.max_batch_size=1"]
    assert command(*words, "dry_run=true").code == 0
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    assert [row["status"] for row in outcome.rows] == ["FINISHED", "FINISHED"]
    assert len(list(outcome.folder.glob("multirun/**/sweep.json"))) == 1


@pytest.mark.slow
def test_a_finished_sweep_that_is_resumed_prints_its_report_again(command: Command) -> None:
    words = ["loss=ce,kl", "seed=0,1", "hydra.sweep.dir=c", "tracking.report=true"]
    words.append("hydra/launcher=basic")
    assert "c/report.html" in command(*words).out
    again = command(*words, "resume=true")
    assert "c/report.html" in again.out
    assert "vs ce in points" in again.out
