"""Checks of a loss term: a finite scalar of the outputs of both networks, and its gradient."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.builders.losses import build_objective, prepare_student_network, set_up_terms
from kdsweep.builders.models import extract_features
from kdsweep.common.rng import reseed_all
from kdsweep.common.types import Batch, Output
from kdsweep.config.recipes import num_averaged_teachers
from kdsweep.config.run_config import RunConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.sweeps.check import contract
from kdsweep.sweeps.check.contract import Broken, Part
from kdsweep.training.one_device import META
from kdsweep.training.teacher import detached_output, mean_output


@dataclass(frozen=True)
class Networks:
    """The networks whose outputs the terms of a config compare; teachers by their keys."""

    config: RunConfig
    dataset: Dataset
    student: nn.Module
    teachers: Mapping[str, nn.Module]

    def set_up(self, node: dict[str, Any], name: str) -> Objective:
        """The objective of this term alone, set up for these networks. Raises UserError."""
        config = replace(self.config, loss={name: node}, hard_weight=1.0)
        objective = build_objective(config)
        prepare_student_network(config, objective, self.student, "student")
        with self.extractors(objective) as (student, teachers):
            set_up_terms(config, objective, student, teachers, self.dataset)
        return objective

    @contextmanager
    def extractors(
        self, objective: Objective
    ) -> Iterator[tuple[FeatureExtractor, list[FeatureExtractor]]]:
        """The networks with the features that an objective reads."""
        loss, networks = self.config.loss, list[FeatureExtractor]()
        for key, model in {"student": self.student, **self.teachers}.items():
            is_student = not networks
            names = objective.student_features if is_student else objective.teacher_features
            networks.append(extract_features(model, names, key, self.dataset, loss))
        try:
            yield networks[0], networks[1:]
        finally:
            for one in networks:
                one.close()

    def outputs(self, objective: Objective, batch: Batch) -> "Outputs":
        """What an objective compares for a batch."""
        with self.extractors(objective) as (student, teachers), torch.no_grad():
            output = _leaves(student.with_train_features(batch.images))
            targets = []
            for teacher in teachers:
                teacher.model.eval()
                targets.append(detached_output(teacher.with_train_features(batch.images)))
        blank = Output(torch.zeros_like(output.logits), {})
        averaged = targets and num_averaged_teachers(self.config)
        target = mean_output(targets) if averaged else [*targets, blank][0]
        return Outputs(output, target, batch)


class Outputs(NamedTuple):
    """Those of both networks for a batch; the tensors of the student's require gradients."""

    student: Output
    teacher: Output
    batch: Batch

    def value(self, term: Term) -> Tensor:
        """The term's value, as before every step of a seed."""
        reseed_all("check", "step")
        value: Tensor = term(self.student, self.teacher, self.batch)
        return value

    def on_meta(self) -> "Outputs":
        """The same shapes on the device without values."""
        student, teacher = _leaves(_moved(self.student)), _moved(self.teacher)
        images, labels, index = (torch.empty_like(one, device=META) for one in self.batch[:3])
        return Outputs(student, teacher, Batch(images, labels, index))


def check_term(part: Part, name: str, networks: Networks, batch: Batch) -> None:
    """A loss term by its name in the config."""
    node = {"schedule": None, **part.node}
    made = part.made(lambda: networks.set_up(node, name))
    if made is None:
        return
    if made.needs_teacher and not networks.teachers:
        part.note(contract.SHAPES, "a teacher must be among the parts, teacher=cnn, got none")
        return
    outputs = part.made(lambda: networks.outputs(made, batch), contract.FEATURES)
    if outputs is None:
        return
    with part.check(contract.SHAPES):
        value: object = outputs.value(_only(made))
        if not isinstance(value, Tensor) or value.shape != ():
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Broken(f"the value must be a scalar tensor, got {got}")
    with part.check(contract.FINITE):
        contract.require_finite("the value", outputs.value(_only(made)))
    with part.check(contract.GRADIENT):
        _check_gradient(_only(made), outputs)
    with part.check(contract.NO_WAITING):
        _check_on_meta(_only(networks.set_up(node, name)), outputs.on_meta())
    with part.check(contract.DETERMINISTIC):
        terms = [_only(networks.set_up(node, name)) for _ in range(2)]
        values = [{"value": outputs.value(term).detach()} for term in terms]
        contract.require_equal("the value for a batch", *values)
        contract.require_equal("what it has learned", *(term.state_dict() for term in terms))
    part.check_round_trip(lambda read: networks.set_up({"schedule": None, **read}, name))


def _only(objective: Objective) -> Term:
    (term,) = objective.terms.values()
    assert isinstance(term, Term)
    return term


def _check_gradient(term: Term, outputs: Outputs) -> None:
    """Of the student's output, and none of the teacher's."""
    student, teacher = _leaves(outputs.student), _leaves(outputs.teacher)
    value = outputs._replace(student=student, teacher=teacher).value(term)
    if not value.requires_grad:
        raise Broken("the value must have a gradient for the student's output, got none")
    value.backward()
    gradients = [tensor.grad for tensor in _tensors(student) if tensor.grad is not None]
    if not any(bool(gradient.any()) for gradient in gradients):
        raise Broken("the value must have a gradient for the student's output, got zero")
    for gradient in gradients:
        contract.require_finite("the gradient", gradient)
    targets = [tensor for output in (teacher, *teacher.members) for tensor in _tensors(output)]
    if any(tensor.grad is not None for tensor in targets):
        raise Broken("the value must have no gradient for the teacher's output, got one: detach it")


def _check_on_meta(term: Term, outputs: Outputs) -> None:
    term.to(META)
    with contract.on_meta():
        term(*outputs).backward()


def _tensors(output: Output) -> list[Tensor]:
    return [output.logits, *output.features.values()]


def _leaves(output: Output) -> Output:
    """An output whose tensors require gradients of their own."""

    def leaf(tensor: Tensor) -> Tensor:
        is_real = tensor.is_floating_point()
        return tensor.detach().clone().requires_grad_(is_real)

    features = {name: leaf(feature) for name, feature in output.features.items()}
    members = tuple(_leaves(member) for member in output.members)
    return Output(leaf(output.logits), features, members)


def _moved(output: Output) -> Output:
    features = {n: torch.empty_like(f, device=META) for n, f in output.features.items()}
    members = tuple(_moved(member) for member in output.members)
    return Output(torch.empty_like(output.logits, device=META), features, members)
