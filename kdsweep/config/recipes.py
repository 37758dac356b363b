"""The configs of the runs that belong to a run: its teachers, its online teacher, peers, stages."""

from dataclasses import fields, replace
from typing import Any

from kdsweep.common.teacher_views import SAME
from kdsweep.config.run_config import ResolvedPeer, RunConfig
from kdsweep.config.schema import BY_NAME, StudentConfig

LOGITS = "fp32"  # the default of teacher.logits
NO_TEACHER: dict[str, Any] = {
    "name": "none",
    "model": None,
    "checkpoint": None,
    "start": None,
    "start_match": BY_NAME,
    "drop_path": None,
    "precision": None,
    "memory_format": "auto",
    "logits": LOGITS,
    "fold_batchnorm": False,
    "view": SAME,
    "image_size": None,
    "teacher": None,
    "members": {},
    "peers": {},
    "online": False,
}
# The keys that a run and a teacher's recipe share.
RECIPE = (
    *("T", "alpha", "alpha_weighted", "hard_weight", "hard"),
    *("loss", "optimizer", "schedule", "trainer", "seed"),
)
# The name of the run's own student among its peers.
PRIMARY_STUDENT = "student"


def single_teachers(config: RunConfig) -> dict[str, RunConfig]:
    """A config with one teacher for every frozen teacher of a run, by the teacher's key.

    The key is `teacher`, or `teacher.members.NAME` for the members of an ensemble, in their order.
    An online teacher is not frozen: there is none then. Members have the ensemble's `logits`,
    `fold_batchnorm` and `image_size` unless they set their own.
    """
    teacher = config.teacher
    if teacher.online:
        return {}
    members = {
        f"teacher.members.{name}": replace(
            member,
            logits=teacher.logits if member.logits == LOGITS else member.logits,
            fold_batchnorm=member.fold_batchnorm or teacher.fold_batchnorm,
            image_size=teacher.image_size if member.image_size is None else member.image_size,
        )
        for name, member in teacher.members.items()
    }
    return {
        key: replace(config, teacher=one)
        for key, one in (members or {"teacher": teacher}).items()
        if one.model is not None
    }


def teacher_recipe(config: RunConfig) -> RunConfig:
    """The config of the run that trains a run's only teacher.

    A teacher is trained as a student is: on hard labels, or with a teacher of its own if its recipe
    names one. It shares the data set and its split, but uses all training images whatever the
    students use, and one view of each.
    """
    teacher, data = config.teacher, config.dataset
    augment = replace(data.augment, strong_view=0)
    return replace(
        config,
        dataset=replace(data, limit=None, per_class=None, train_fraction=1.0, augment=augment),
        student=StudentConfig(
            name=teacher.name,
            model=teacher.model or {},
            features=teacher.features,
            start=teacher.start,
            start_match=teacher.start_match,
            drop_path=teacher.drop_path,
            image_size=teacher.image_size,
        ),
        stages={},
        teacher=teacher.teacher or replace(teacher, **NO_TEACHER),
        extra_keys=_extra_keys(config, "trainer", "hard"),
        **{key: getattr(teacher, key) for key in RECIPE},
    )


def _extra_keys(config: RunConfig, *taken: str) -> dict[str, Any]:
    """The extra keys of a run with another student; the nodes ``taken`` are its teacher's."""
    below = config.extra_keys.get("teacher", {})
    rest = {k: v for k, v in config.extra_keys.items() if k not in ("student", "teacher", *taken)}
    return {**rest, **{key: below[key] for key in taken if key in below}}


def online_recipe(config: RunConfig) -> RunConfig | None:
    """The config of the run of a teacher that is trained together with its students, if there is.

    Network, optimizer, schedule and the hard term are those of its recipe; data, epochs and batches
    are those of the students, and so is the seed, from which its own is derived.
    """
    teacher = config.teacher
    if not teacher.online or teacher.model is None:
        return None
    own = teacher.trainer
    return replace(
        teacher_recipe(config),
        dataset=config.dataset,
        trainer=replace(
            config.trainer,
            precision=own.precision,
            memory_format=own.memory_format,
            grad_clip=own.grad_clip,
            ema=own.ema,
            ema_warmup=own.ema_warmup,
            compile=own.compile,
        ),
        seed=config.seed,
        member_name="teacher",
        extra_keys=_extra_keys(config, "hard"),
    )


def peer_recipes(config: RunConfig) -> dict[str, RunConfig]:
    """The config of the run of every other peer of a run, by name.

    It shares all with the run but its network, its initialisation, and the meaning of
    `${pairs:...}`, for which its loss terms were resolved.
    """
    teacher = config.teacher
    own = config.student
    everyone = {PRIMARY_STUDENT: ResolvedPeer(**vars(own)), **teacher.peers}
    return {
        name: replace(
            config,
            member_name=name,
            extra_keys=_extra_keys(config),
            student=StudentConfig(**{one.name: getattr(peer, one.name) for one in fields(own)}),
            loss=peer.loss,
            teacher=replace(
                teacher, peers={k: other for k, other in everyone.items() if k != name}
            ),
        )
        for name, peer in teacher.peers.items()
    }


def num_averaged_teachers(config: RunConfig) -> int:
    """The number of teachers a loss term is averaged over; 0 with a single one, or none."""
    return len(config.teacher.members) or len(config.teacher.peers)


def last_stage(config: RunConfig) -> tuple[str, RunConfig] | None:
    """The name and the config of the stage whose weights a run starts from; None without stages.

    A stage is a run of its own: the same network, data and seed, other loss terms and epochs. The
    earlier stages are its own stages. Runs with equal stages share them.
    """
    if not config.stages:
        return None
    *earlier, name = config.stages
    stage = config.stages[name]
    return name, replace(
        config,
        stages={key: config.stages[key] for key in earlier},
        loss=stage.loss,
        hard_weight=stage.hard_weight,
        alpha_weighted=stage.alpha_weighted,
        optimizer=stage.optimizer or config.optimizer,
        schedule=stage.schedule or config.schedule,
        trainer=replace(config.trainer, epochs=stage.epochs),
    )
