"""A run's objective: its weighted loss terms, and what they require of the networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdsweep.builders.instantiate import instantiate_node, naming_key
from kdsweep.builders.models import dry_forward
from kdsweep.common.classifier import is_classified
from kdsweep.common.rng import derive, reseed_all
from kdsweep.common.types import Output
from kdsweep.common.validation import as_typed
from kdsweep.config.recipes import num_averaged_teachers, single_teachers
from kdsweep.config.run_config import RunConfig
from kdsweep.config.targets import target_fault
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import CollectedErrors, UserError
from kdsweep.losses.base.multi_teacher import MultiTeacherLoss, per_teacher_terms
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.losses.base.weight_schedule import KEYS, weight_schedule
from kdsweep.models.components.embedding_output import gives_logits
from kdsweep.models.components.feature_extractor import FeatureExtractor


@dataclass(frozen=True)
class Requirements:
    """What a run's loss terms require: a teacher, and features of its network."""

    needs_teacher: bool
    teacher_features: tuple[str, ...]


def objective_requirements(config: RunConfig) -> Requirements:
    """What the loss terms of a run require, found by building them once."""
    objective = build_objective(config)
    return Requirements(objective.needs_teacher, objective.teacher_features)


def terms_with_teacher_features(config: RunConfig) -> list[str]:
    """The names of a run's loss terms that read features of the teacher."""
    terms = build_objective(config).terms
    return [name for name, term in terms.items() if term.teacher_features]


def build_objective(config: RunConfig) -> Objective:
    """The weighted sum of a run's terms, not yet set up for networks.

    Raises UserError if a term cannot be built, or does not go with the data or the stages.
    """
    errors = CollectedErrors()
    terms, schedules = {}, {}
    with torch.random.fork_rng():
        for name in sorted(config.loss):
            with errors.of():
                terms[name] = _build_term(name, config)
                _refuse_combination(name, terms[name], config)
    for name, node in config.loss.items():
        if isinstance(node, dict):
            with errors.of(), naming_key(f"loss.{name}.schedule", KEYS):
                schedules[name] = weight_schedule(node.get("schedule"))
    errors.raise_if_any()
    with naming_key("loss"):
        return Objective(
            terms,
            hard_weight=config.hard_weight,
            alpha=config.alpha if config.alpha_weighted else None,
            label_smoothing=config.hard.label_smoothing,
            schedules=schedules,
            epochs=config.trainer.epochs,
        )


def _refuse_combination(name: str, term: Term, config: RunConfig) -> None:
    """Raise UserError for a term that does not go with data, teacher or stages of a run."""
    augment, last_stage = config.dataset.augment, list(config.stages.values())[-1:]
    for key, share in (("mixup", augment.mixup), ("cutmix", augment.cutmix)):
        if term.needs_labels and share:
            raise UserError(
                f"dataset.augment.{key} must be 0 with loss.{name}, which needs the one class"
                f" of an image, got {share:g}"
            )
    if term.needs_trained_teacher:
        _refuse_teacher_in_training(name, config)
    if term.needs_one_teacher and config.teacher.members:
        raise UserError(
            f"teacher.members must be empty with loss.{name}, which takes the weights of one"
            f" teacher, got {', '.join(config.teacher.members)}"
        )
    if term.needs_stage and not any(name in stage.loss for stage in last_stage):
        raise UserError(
            f"loss.{name} must begin with a stage that has it among its loss terms, as the"
            f" last of the stages, got stages {', '.join(config.stages) or 'none'}"
        )


def _refuse_teacher_in_training(name: str, config: RunConfig) -> None:
    """Raise UserError for a teacher that is trained together with its students."""
    teacher, why = config.teacher, f"with loss.{name}, which reads a trained teacher's weights"
    if teacher.online:
        raise UserError(f"teacher.online must be false {why}, got true")
    if teacher.peers:
        raise UserError(f"teacher.peers must be empty {why}, got {', '.join(teacher.peers)}")


def _build_term(name: str, config: RunConfig) -> Term:
    """A loss term, or one for each of several teachers, each built right after its own seed."""
    node: Any = config.loss[name]
    if (fault := target_fault(node, f"loss.{name}")) is not None:
        raise UserError(fault)
    options = {key: value for key, value in node.items() if key != "schedule"}

    def build(teacher: int) -> Term:
        _seed_term(name, config, teacher)
        term = instantiate_node(options, f"loss.{name}")
        if not isinstance(term, Term):
            raise UserError(
                f"loss.{name}._target_ must be a loss term, a subclass of kdsweep.Term, got"
                f" {as_typed(node['_target_'])}"
            )
        return term

    count, first = num_averaged_teachers(config), build(0)
    if not count or not first.needs_teacher:
        return first
    return MultiTeacherLoss([first, *(build(teacher) for teacher in range(1, count))])


def _seed_term(name: str, config: RunConfig, teacher: int) -> None:
    """Seed the generator by the name of a term, and by the index of a teacher after the first."""
    reseed_all("term", name, init_seed(config), *([teacher] if teacher else []))


def init_seed(config: RunConfig) -> int:
    """The seed of a network's initialisation: the run's own, or one derived from a member's name.

    Peers and online teachers get one of their own, so that no two networks start equal.
    """
    if config.member_name is None:
        return config.seed
    return derive("beside", config.seed, config.member_name)


def prepare_student_network(
    config: RunConfig, objective: Objective, network: nn.Module, key: str
) -> None:
    """Give each term the network of the student, at a config ``key``.

    Raises UserError if a term cannot train it, or if it has weights that none gives it.
    """
    own = config.student
    has_weights = own.checkpoint is not None or own.start is not None or bool(config.stages)
    is_given = any(getattr(term, "initializes_student", False) for term in objective.terms.values())
    if getattr(network, "awaits_classifier", False) and not (has_weights or is_given):
        raise UserError(
            f"{key}.model must be trained with loss=simkd, which gives it the teacher's classifier,"
            f" or begin with a checkpoint, got loss {', '.join(config.loss) or 'ce'}"
        )
    for name, term in objective.terms.items():
        assert isinstance(term, Term)
        for part in per_teacher_terms(term):
            with naming_key(f"loss.{name}", config.loss[name]):
                part.prepare_student(network)


def set_up_terms(
    config: RunConfig,
    objective: Objective,
    student: FeatureExtractor,
    teachers: Sequence[FeatureExtractor],
    dataset: Dataset,
) -> None:
    """Give each term the outputs for two blank images, from which it sizes its own parameters.

    A term with a teacher then gets the teacher's network, unless that is trained together with the
    student, and may give the student weights of it.
    """
    if not objective.terms:
        return
    output = dry_forward(student, dataset)
    _refuse_without_logits(config, objective, teachers)
    # A term without a teacher gets logits all the same.
    blank = Output(torch.zeros(2, dataset.num_classes), {})
    targets = [dry_forward(teacher, dataset) for teacher in teachers] or [blank]
    is_frozen = bool(single_teachers(config))
    for name, term in objective.terms.items():
        assert isinstance(term, Term)
        for place, (part, target) in enumerate(zip(per_teacher_terms(term), targets, strict=False)):
            _seed_term(name, config, place)
            with naming_key(f"loss.{name}", config.loss[name]):
                part.setup(output, target, dataset.train.labels.cpu())
                if is_frozen and part.needs_teacher:
                    _pass_teacher(part, student.model, teachers[place].model, target)


def _refuse_without_logits(
    config: RunConfig, objective: Objective, teachers: Sequence[FeatureExtractor]
) -> None:
    """Raise UserError for a teacher without a classifier where a term compares logits."""
    for key, teacher in zip(single_teachers(config), teachers, strict=False):
        if gives_logits(teacher.model):
            continue
        if config.teacher.members:
            raise UserError(f"{key}.model.head must be true in an ensemble, got false")
        for name, term in objective.terms.items():
            assert isinstance(term, Term)
            if term.needs_teacher and (term.needs_logits or term.needs_classifier):
                raise UserError(
                    f"{key}.model.head must be true with loss.{name}, which needs a classifier, got"
                    " false; embedding, rkd, pkt, sp, cc and others compare features alone"
                )


def _pass_teacher(term: Term, student: nn.Module, teacher: nn.Module, output: Output) -> None:
    """Give a term the network of a teacher with its output. Raises ValueError if it does not fit.

    ``output`` has the teacher's features of the term.
    """
    for name in term.teacher_features if term.needs_classifier else ():
        if not is_classified(teacher, output.features[name], output.logits):
            raise ValueError(
                "pairs must name the features that a single linear layer, the teacher's classifier,"
                f" maps to its logits, got {name}"
            )
    term.read_teacher(teacher)
    term.initialize_student(student, teacher)
