"""A run and all that it depends on, as one immutable tree; built once, by `build_specs`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.builders.losses import Requirements
from kdsweep.common.passwords import redact_nested
from kdsweep.config.plain_yaml import as_yaml
from kdsweep.config.run_config import ResolvedTeacher, RunConfig, public_values, to_values
from kdsweep.runs.naming import Cell
from kdsweep.training.partition import CohortKey

# Keys of the trainer in which the students of a cohort may differ.
OF_EACH_NETWORK = (
    *("precision", "memory_format", "grad_clip", "layer_decay", "decay_norms"),
    *("accumulate", "ema", "ema_warmup", "compile"),
)


@dataclass(frozen=True, eq=False)
class TeacherSpec:
    """A frozen teacher of a run: a file of weights, or the run that trains it.

    Attributes:
        key: its config key, `teacher` or `teacher.members.NAME`.
        config: its recipe; with a file of weights, only its network counts.
        run: the run that trains it; None if a file is given.
    """

    key: str
    config: ResolvedTeacher
    run: "RunSpec | None"

    @property
    def model(self) -> dict[str, Any]:
        """The config node of its network."""
        assert self.config.model is not None, "it is one teacher"
        return self.config.model

    @property
    def run_dir(self) -> Path:
        """The directory of the run that trains it, or has trained it."""
        assert self.run is not None, "a given file of weights has no run"
        return Path(self.config.store) / self.run.fingerprint


@dataclass(frozen=True, eq=False)
class RunSpec:
    """One run, before it has a directory.

    Attributes:
        config: its resolved config.
        cell: the point of the sweep it is at.
        fingerprint: a hash of all that decides its numbers.
        requirements: what its loss terms require of the networks.
        digests: of the contents that the config only names, by path; `dataset` for the data.
        role: run, stage, peer, teacher, or assistant (a teacher with a teacher of its own).
        number: of its job in the sweep.
        overrides: of its job.
        swept: those overrides whose keys the sweep varies.
        teachers: the frozen teachers its terms require: one, or the members of an ensemble.
        online_teacher: the run of a teacher that is trained together with its students.
        stage: the run whose weights it starts from.
        peers: the runs of its other peers, by name.
        teacher_identity: equal for runs that have equal teachers; None if no term requires one.
    """

    config: RunConfig
    cell: Cell
    fingerprint: str
    requirements: Requirements
    digests: Mapping[str, str]
    role: str = "run"
    number: int = 0
    overrides: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    teachers: tuple[TeacherSpec, ...] = ()
    online_teacher: "RunSpec | None" = None
    stage: "RunSpec | None" = None
    peers: Mapping[str, "RunSpec"] = field(default_factory=dict)
    teacher_identity: str | None = None

    @property
    def name(self) -> str:
        """As people read it: `kl T=4 alpha=0.5 seed=0`, `teacher cnn digits`."""
        if self.role in ("teacher", "assistant") and self.config.member_name is None:
            return self.cell.name
        return f"{self.cell.name} seed={self.config.seed}"

    @property
    def stages(self) -> list["RunSpec"]:
        """Every stage of the run, the last one first."""
        return [] if self.stage is None else [self.stage, *self.stage.stages]

    @property
    def teacher_name(self) -> str | None:
        """The teacher of the run or of one of its stages; None without a teacher."""
        taught = any(spec.requirements.needs_teacher for spec in (self, *self.stages))
        return self.config.teacher.name if taught else None

    @property
    def has_auxiliary_runs(self) -> bool:
        """Whether runs of other roles belong to it, so that a sweep of it needs a parent run."""
        assisted = any(t.run is not None and t.run.role == "assistant" for t in self.teachers)
        return assisted or bool(self.peers or self.stages) or self.online_teacher is not None

    @property
    def cohort_key(self) -> CohortKey:
        """What decides with which other runs it can share a cohort."""
        config = self.config
        trainer = {k: v for k, v in to_values(config.trainer).items() if k not in OF_EACH_NETWORK}
        shared = json.dumps([to_values(config.dataset), trainer, config.seed], sort_keys=True)
        # Peers are each other's teachers; they can share a cohort with any run with peers.
        return CohortKey(shared, "peers" if self.peers else self.teacher_identity)

    @cached_property
    def config_yaml(self) -> str:
        """The resolved config as the text of `config.yaml`."""
        return as_yaml(redact_nested(public_values(self.config)))
