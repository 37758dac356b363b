"""`hydra.sweep.subdir` and Hydra's other keys of folders: honoured, or refused by name."""

from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import hydra
import pytest
from commands import Command
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from kdsweep.cli import CONF
from kdsweep.errors import UserError
from kdsweep.report.compare import find_run
from kdsweep.report.sources.lookup import Address
from kdsweep.sweeps.idle_keys import refuse_idle_dirs
from kdsweep.sweeps.subdirs import link_subdirs, refuse_several_dirs, refuse_taken, subdirs_of

OVERRIDES = "hydra.sweep.subdir=${hydra.job.override_dirname}"
ONLY_T = "hydra.job.config.override_dirname.exclude_keys="


@pytest.fixture(scope="module")
def load() -> Callable[..., DictConfig]:
    """`load("T=1,2")`: the config of a sweep."""
    with hydra.initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
    return lambda *words: loader.load_configuration("train", [*words], RunMode.MULTIRUN)


@pytest.fixture(scope="module")
def config(load: Callable[..., DictConfig]) -> DictConfig:
    return load(OVERRIDES)


def job(config: DictConfig, number: int, subdir: str, folder: str = "mine") -> DictConfig:
    """A job's config with another subdir."""
    changed: Any = config.copy()
    changed.hydra.job.num = number
    changed.hydra.sweep.subdir, changed.hydra.sweep.dir = subdir, folder
    return changed


def refusal(config: DictConfig, *subdirs: str) -> str:
    with pytest.raises(UserError) as refused:
        subdirs_of([job(config, n, subdir) for n, subdir in enumerate(subdirs)], 0)
    return str(refused.value)


@pytest.mark.slow
def test_runs_are_found_under_the_names_of_their_overrides(command: Command) -> None:
    others = "dataset,dataset.source.shape,dataset.source.num_train,dataset.source.num_test"
    others += ",teacher.model.width,trainer.epochs,trainer.batch_size,teacher.trainer.epochs"
    others += ",student.model.width,teacher.store,tracking,tracking.report,tracking.plots,resume"
    words = [OVERRIDES, f"{ONLY_T}[{others}]", "loss=kl", "T=1,4"]
    words += ["hydra.sweep.dir=out/${hydra.job.name}", "hydra.job.name=mine", "trainer.epochs=1"]
    outcome = command(*words)
    assert outcome.code == 0, outcome.err
    sweep = outcome.folder / "out" / "mine"
    links = {path.name: path.resolve().name for path in sweep.iterdir() if path.is_symlink()}
    assert links == {"T=1,loss=kl": "0", "T=4,loss=kl": "1"}
    for name in links:
        assert (sweep / name / ".hydra" / "overrides.yaml").is_file()
        assert (sweep / name / "result.json").is_file()
    lines = (sweep / "results.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["run", "0", "1"]
    (sweep / "1" / "result.json").unlink()
    again = command(*words, "resume=true")
    assert again.code == 0, again.err
    assert "resume: continues in out/mine" in again.err
    assert (sweep / "T=4,loss=kl" / "result.json").is_file()
    assert len([path for path in sweep.iterdir() if path.is_symlink()]) == 2
    assert find_run(str(sweep / "T=4,loss=kl"), Address()).row["run"] == 1


def test_no_folder_of_hydra_is_made_if_none_is_wanted(command: Command) -> None:
    outcome = command("loss=ce", "hydra.output_subdir=null", "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    assert not (outcome.sweep / "0" / ".hydra").exists()
    assert [row["status"] for row in outcome.rows] == ["FINISHED"]


def test_names_are_links_to_the_numbers(config: DictConfig, tmp_path: Path) -> None:
    configs = [job(config, 0, "a,b=c d"), job(config, 1, "1"), job(config, 2, "deep/er/é\n")]
    named = subdirs_of(configs, 0)
    assert named == {0: PurePath("a,b=c d"), 2: PurePath("deep/er/é\n")}
    for _ in range(2):  # the second time as in a sweep that is resumed
        refuse_taken(tmp_path, named)
        link_subdirs(tmp_path, named)
    assert [(tmp_path / name).resolve().name for name in named.values()] == ["0", "2"]
    with pytest.raises(UserError, match=r"must differ between runs, got 'a,b=c d' again for 5"):
        refuse_taken(tmp_path, {5: named[0]})


@pytest.mark.parametrize(
    ("subdirs", "sentence"),
    [
        (["same", "same"], "must differ between runs, got 'same' for runs 0 and 1"),
        (["a/b", "a"], "must name no folder in that of another run, got 'a/b' for run 0 and 'a'"),
        (["../up"], "must be a path in the folder of the sweep, got '../up' for run 0"),
        (["/tmp/up"], "must be a path in the folder of the sweep, got '/tmp/up' for run 0"),
        (["a\0b"], "must be a path in the folder of the sweep, got 'a\\x00b' for run 0"),
        ([""], "must be a path in the folder of the sweep, got '' for run 0"),
        (["7"], "must be no number, unless it is that of the run, got '7' for run 0"),
        (["sweep.json"], "must be no name of a file of the sweep, got 'sweep.json' for run 0"),
        (["work/one"], "must be no name of a file of the sweep, got 'work/one' for run 0"),
        ([f"teacher-{'0' * 16}"], "must be no name of a file of the sweep, got 'teacher-0000"),
        (["é" * 128], "must have names of at most 255 bytes, got 'éééé"),
    ],
)
def test_names_that_are_refused(config: DictConfig, subdirs: list[str], sentence: str) -> None:
    message = refusal(config, *subdirs)
    assert message.startswith(f"hydra.sweep.subdir {sentence}")
    assert "\n" not in message


def test_a_name_that_cannot_be_resolved_is_refused(config: DictConfig) -> None:
    message = refusal(config, "${nothing}")
    assert message.startswith("hydra.sweep.subdir must be a name for each run, got none for run 0")


def test_where_no_links_can_be_made_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def symlink(*args: object, **kwargs: object) -> None:
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.symlink", symlink)
    with pytest.raises(UserError, match="must be left out where no links can be made, got 'a'"):
        refuse_taken(tmp_path, {0: PurePath("a")})


def test_one_folder_for_all_runs(config: DictConfig, load: Callable[..., DictConfig]) -> None:
    configs = [job(config, number, "a", f"out/T{number}") for number in range(2)]
    with pytest.raises(UserError) as refused:
        refuse_several_dirs(configs, 0, None)
    assert str(refused.value) == (
        "hydra.sweep.dir must be one folder for all runs of a sweep, got out/T0 and, for run 1,"
        " out/T1; hydra.sweep.subdir names the folders of runs"
    )
    with pytest.raises(UserError, match="got out/T4 and, for run 0, out/T0"):
        refuse_several_dirs(configs[:1], 0, Path("out/T4"))
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir must be one folder .* got none: "):
        refuse_idle_dirs(load("hydra.sweep.dir=out/${hydra.job.num}"))
    refuse_idle_dirs(load(OVERRIDES, "hydra.sweep.dir=out/${hydra.job.name}"))


@pytest.mark.parametrize("words", [[], ["search=bayes"], ["hydra/launcher=basic"]])
def test_another_current_folder_is_refused(
    load: Callable[..., DictConfig], words: list[str]
) -> None:
    with pytest.raises(UserError, match=r"^hydra\.job\.chdir must be false or null, got true: "):
        refuse_idle_dirs(load("hydra.job.chdir=true", *words))
