"""The contract of a term, for every yaml in conf/loss: a new one is tested without further code."""

import copy
import importlib
from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdsweep.common.types import Batch, Output
from kdsweep.config.register import register
from kdsweep.config.schema import StudentConfig, TeacherConfig
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term, at_least_float32
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.vit import VisionTransformer
from kdsweep.training.arithmetic import put_in_format

CONF = Path(__file__).parents[3] / "conf"
FILES = sorted((CONF / "loss").glob("*.yaml"))
register()  # the resolver of ${pairs:...}
every_yaml = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@cache
def networks():
    """The student and teacher nodes, with the features of their cnn."""
    nodes = {
        group: OmegaConf.merge(
            OmegaConf.structured(schema),
            {"features": OmegaConf.load(CONF / "student" / "cnn.yaml").features},
        )
        for group, schema in (("student", StudentConfig), ("teacher", TeacherConfig))
    }
    nodes["teacher"].model = {}
    return nodes


@cache
def resolved(path):
    """The terms' options in one yaml, with T and alpha at the root."""
    root = {"T": 4.0, "alpha": 0.5, "loss": OmegaConf.load(path), **networks()}
    return OmegaConf.to_container(OmegaConf.create(root).loss, resolve=True)


def build(path, **options):
    """The terms of one yaml, as Hydra would build them."""
    torch.default_generator.manual_seed(
        0
    )  # torch.manual_seed queues stack traces for other devices
    terms = {}
    for name, node in resolved(path).items():
        module, _, constructor = node["_target_"].rpartition(".")
        # The schedule is for the objective.
        node = {key: value for key, value in node.items() if key not in ("_target_", "schedule")}
        terms[name] = getattr(importlib.import_module(module), constructor)(**(node | options))
    return terms


def student_for(terms):
    """With a distillation head for the term that trains it."""
    if "deit" in terms:
        sizes = {"width": 8, "depth": 1, "heads": 2}
        return VisionTransformer((1, 8, 8), 10, distillation_token=True, **sizes)
    return CNN((1, 8, 8), 10, width=8)


class Pair:
    """A small student and its teacher on a random batch, with the features that the terms need."""

    def __init__(self, terms, precision=torch.float32):
        torch.default_generator.manual_seed(1)
        self.objective = Objective(terms, hard_weight=None, alpha=None)
        self.batch = Batch(torch.rand(12, 1, 8, 8), torch.arange(12) % 10, torch.arange(12))
        width = 8 if {"fsp", "kdsvd", "simkd"} & set(terms) else 16  # by channel
        student, teacher = student_for(terms), CNN((1, 8, 8), 10, width=width)
        self.student = FeatureExtractor(student, self.objective.student_features)
        self.teacher = FeatureExtractor(teacher.eval(), self.objective.teacher_features)
        self.precision = precision
        for term in terms.values():
            term.prepare_student(student)
            term.setup(*self.outputs(), torch.arange(100) % 10)
            if term.needs_trained_teacher:
                term.read_teacher(teacher)

    def outputs(self):
        enabled = self.precision == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            teacher = self.teacher.with_train_features(self.batch.images)
            return self.student(self.batch.images), teacher

    def double(self):
        """The same in float64."""
        for module in (self.student.model, self.teacher.model, self.objective):
            module.double()
        self.batch = self.batch._replace(images=self.batch.images.double())
        return self

    def values(self):
        torch.default_generator.manual_seed(2)  # as before every step: some terms draw
        return self.objective(*self.outputs(), self.batch)


def test_the_catalogue_is_found():
    assert {path.stem for path in FILES} >= {"ce", "kl", "mse", "soft_ce", "fitnet"}
    assert len(FILES) >= 5


@every_yaml
def test_each_yaml_holds_the_one_term_it_is_named_after(path):
    terms = build(path)
    assert list(terms) == ([] if path.stem == "ce" else [path.stem])
    assert all(isinstance(term, Term) for term in terms.values())


@every_yaml
def test_each_yaml_has_a_schedule_for_the_weight(path):
    assert all(node["schedule"] is None for node in OmegaConf.load(path).values())


@every_yaml
def test_a_step_lowers_the_objective(path):
    pair = Pair(build(path))
    parameters = [*pair.student.model.parameters(), *pair.objective.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    before, values, _ = pair.values()
    before.backward()
    optimizer.step()
    assert all(value.shape == () and torch.isfinite(value) for value in values.values())
    assert pair.values()[0] < before


@every_yaml
def test_gradients_reach_the_student_only(path):
    pair = Pair(build(path))
    pair.values()[0].backward()
    assert all(p.grad is not None for p in pair.student.model.parameters())
    assert all(p.grad is None for p in pair.teacher.model.parameters())


@every_yaml
def test_the_value_of_a_term_does_not_depend_on_its_weight(path):
    (light, light_values, _), (heavy, heavy_values, _) = (
        Pair(build(path, **options)).values() for options in ({"weight": 1.0}, {"weight": 3.0})
    )
    for name, value in light_values.items():
        assert torch.equal(value, heavy_values[name])
    soft = sum(value for name, value in light_values.items() if name != "ce")
    torch.testing.assert_close((heavy - light).detach(), torch.as_tensor(2.0 * soft))


@every_yaml
def test_bf16_outputs_give_finite_float32_values_and_gradients(path):
    pair = Pair(build(path), precision=torch.bfloat16)
    assert pair.outputs()[0].logits.dtype == torch.bfloat16
    total, values, _ = pair.values()
    total.backward()
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in values.values())
    assert all(torch.isfinite(p.grad).all() for p in pair.student.model.parameters())


@every_yaml
def test_float64_stays_float64(path):
    pair = Pair(build(path)).double()
    assert all(value.dtype == torch.float64 for value in pair.values()[1].values())


@every_yaml
def test_channels_last_gives_the_same_values_and_gradients(path):
    found = []
    for memory_format in ("contiguous", "channels_last"):
        pair = Pair(build(path)).double()
        for network in (pair.student, pair.teacher):
            put_in_format(network.model, memory_format)
        total, values = pair.values()[:2]
        total.backward()
        parameters = [*pair.student.model.parameters(), *pair.objective.parameters()]
        found.append((values, [parameter.grad for parameter in parameters]))
    torch.testing.assert_close(*found)


@every_yaml
def test_copies_and_states_carry_everything(path):
    pair = Pair(build(path))
    pair.objective.eval()
    before = pair.values()[1]
    state = copy.deepcopy(pair.objective).state_dict()
    for parameter in pair.objective.parameters():
        torch.nn.init.zeros_(parameter)
    pair.objective.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in pair.values()[1].items())


@pytest.mark.parametrize("path", [p for p in FILES if p.stem != "ce"], ids=lambda p: p.stem)
def test_a_negative_weight_is_refused(path):
    with pytest.raises(ValueError, match="weight must be a finite number >= 0, got -1"):
        build(path, weight=-1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_at_least_float32(given, kept):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == kept


def test_a_plain_term_needs_only_a_teacher():
    term = Term(weight=2)
    assert (term.weight, term.needs_teacher) == (2.0, True)
    assert (term.student_features, term.teacher_features) == ((), ())
    term.setup(Output(torch.zeros(1, 2), {}), Output(torch.zeros(1, 2), {}), torch.zeros(1))
    assert list(term.parameters()) == []
