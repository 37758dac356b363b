"""`open_job` against Hydra's own `run_job`, which it stands in for."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.initialize import initialize_config_dir
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from kdsweep.common.conf import CONF
from kdsweep.config.copying import without_hydra
from kdsweep.sweeps.hydra_job import close_job, open_job

FIELDS = ("overrides", "cfg", "working_dir", "task_name", "status")


class Callbacks(SimpleNamespace):
    """Notes what each callback is called with, and what is visible then."""

    def note(self, event: str, config: DictConfig) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        values = OmegaConf.to_container(config, resolve=True)
        hydra = HydraConfig.get()
        readonly = (
            OmegaConf.is_readonly(cast(DictConfig, hydra)),
            OmegaConf.is_readonly(config.student),
        )
        # A job of ours ends after the whole sweep, which is in the folder of the command.
        place = Path.cwd() if event == "start" else None
        self.seen.append((event, values, files, hydra.job.name, hydra.mode, readonly, place))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.note("start", config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn) -> None:
        self.note("end", config)


@pytest.fixture
def loader() -> Iterator[ConfigLoaderImpl]:
    with initialize_config_dir(str(CONF)):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield cast(ConfigLoaderImpl, hydra.config_loader)


@pytest.mark.ci
@pytest.mark.parametrize(
    "words",
    [
        ["hydra.job.name=run-${seed}-${T}", "T=4"],
        ["hydra.sweep.subdir=a/${hydra:job.num}", "hydra.job.chdir=true"],
        ["hydra.output_subdir=null", "++hydra.job.env_set.SOME_NAME=${T}"],
        [r"tracking.experiment='\\\???'"],
    ],
)
def test_jobs_are_opened_and_closed_as_hydra_does(
    loader: ConfigLoaderImpl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = HydraConfig.instance().cfg
    master = loader.load_configuration("train", words, RunMode.MULTIRUN)
    found = []
    for opens in (_by_hydra, _by_us):
        config = loader.load_sweep_config(master, words)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num, config.hydra.sweep.dir = "3", 3, "sweep"
        callbacks = Callbacks(seen=[])
        context = SimpleNamespace(callbacks=callbacks, execution_whitelist=None)
        job = opens(cast(HydraContext, context), config)
        files = {p: p.read_text() for p in Path("sweep").rglob("*.yaml")}
        # Not as configs: in ours, what refers to the rest of the config can be resolved.
        hydra_config = OmegaConf.to_container(cast(DictConfig, job.hydra_cfg))
        fields = [getattr(job, field) for field in FIELDS]
        found.append((fields, hydra_config, callbacks.seen, files))
        for path in files:
            path.unlink()
        for folder in sorted(Path("sweep").rglob("*"), reverse=True):
            folder.rmdir()
    assert found[0] == found[1]
    assert HydraConfig.instance().cfg is before
    assert [event for event, *_ in found[1][2]] == ["start", "end"]


def _by_hydra(context: HydraContext, config: DictConfig) -> JobReturn:
    return run_job(
        hydra_context=context,
        task_function=lambda cfg: None,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        configure_logging=False,
    )


def _by_us(context: HydraContext, config: DictConfig) -> JobReturn:
    job = open_job(context, config, without_hydra(config))
    assert job.status == JobStatus.COMPLETED
    close_job(context, config, job)
    return job
