"""One job of Hydra's under the lockstep launcher: its folder, its files, its callbacks.

Hydra's own `run_job` copies the config of a job six times, which takes longer than a short
training. Here it is not copied; `tests/sweeps/test_hydra_job.py` compares the two.
"""

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, env_override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.basecontainer import BaseContainer

from kdsweep.config.copying import only_hydra
from kdsweep.config.plain_yaml import as_yaml

if TYPE_CHECKING:
    from hydra.conf import HydraConf


def open_job(context: HydraContext, config: DictConfig, without_hydra: DictConfig) -> JobReturn:
    """Make a job's directory with Hydra's files and call `on_job_start`.

    ``config`` gets its `hydra.runtime.output_dir`, and its `hydra` node is read-only from here on,
    as with `run_job`. ``without_hydra`` is the rest of it, which is not copied again.
    """
    with _as_hydra_config(config):
        hydra = config.hydra
        folder = Path(str(hydra.sweep.dir), str(hydra.sweep.subdir))
        with read_write(hydra), open_dict(hydra):
            hydra.runtime.output_dir = os.path.abspath(folder)
            OmegaConf.resolve(hydra.job.env_set)
        OmegaConf.set_readonly(hydra, True)
        folder.mkdir(parents=True, exist_ok=True)
        with chdir(folder) if hydra.job.chdir else nullcontext():
            job = JobReturn(
                overrides=[str(word) for word in hydra.overrides.task],
                cfg=without_hydra,
                hydra_cfg=only_hydra(config),
                working_dir=str(folder) if hydra.job.chdir else os.getcwd(),
                task_name=JobRuntime.instance().get("name"),
                status=JobStatus.COMPLETED,  # unless its training fails
            )
            if hydra.output_subdir is not None:
                _write_files(job, Path(hydra.runtime.output_dir, hydra.output_subdir))
            with env_override(hydra.job.env_set):
                context.callbacks.on_job_start(config=config, task_function=_no_task)
    return job


def close_job(context: HydraContext, config: DictConfig, job: JobReturn) -> None:
    """Call `on_job_end`."""
    with _as_hydra_config(config):
        context.callbacks.on_job_end(config=config, job_return=job)


def _no_task(config: DictConfig) -> None:
    """The task of a job, which is trained with all others."""


def _write_files(job: JobReturn, folder: Path) -> None:
    assert job.hydra_cfg is not None, "it is set when the job is opened"
    folder.mkdir(parents=True, exist_ok=True)
    hydra = job.hydra_cfg.hydra
    files = {
        "config.yaml": as_yaml(_plain(cast("DictConfig", job.cfg))),
        "hydra.yaml": as_yaml(_plain(hydra), below="hydra"),
        "overrides.yaml": OmegaConf.to_yaml(hydra.overrides.task),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _plain(config: DictConfig) -> dict[str, Any]:
    """The values that `OmegaConf.to_yaml` writes, for which there is no public function.

    They are those of `to_container`, except for texts that only look like a missing value.
    """
    values = BaseContainer._to_content(
        config,
        resolve=False,
        throw_on_missing=False,
        enum_to_str=True,
        encode_missing_literals=True,
    )
    return cast("dict[str, Any]", values)


@contextmanager
def _as_hydra_config(config: DictConfig) -> Iterator[None]:
    """Let `${hydra:...}` and `HydraConfig.get()` mean this job's.

    Interpolations reach from `hydra` into the config of the job, which is therefore given as a
    whole.
    """
    singleton = HydraConfig.instance()
    before, singleton.cfg = singleton.cfg, cast("HydraConf", config)
    try:
        yield
    finally:
        singleton.cfg = before
