import numpy as np
import pytest
import torch

from kdsweep.common.types import Batch, Output
from kdsweep.config.resolve import resolve_config
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.nkd import NKD


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def numpy_nkd(student, teacher, labels, T, gamma):
    """The paper's formula, image by image."""
    values = []
    for zs, zt, label in zip(student, teacher, labels, strict=True):
        others = np.arange(len(zs)) != label
        target = softmax(zt)[label] * np.log(softmax(zs)[label])
        p, q = softmax(zt[others] / T), softmax(zs[others] / T)
        values.append(-target - gamma * T**2 * np.sum(p * np.log(q)))
    return np.mean(values)


@pytest.mark.parametrize(
    ("T", "gamma", "value", "slope"),
    [
        (1, 1.5, 1.009410460958, 0.333444830029),
        (3, 3.5, 35.724614017415, 1.155918441615),
        (4, 1.5, 29.945293079468, 0.530386237885),
    ],
)
def test_golden_values(student, teacher, batch, gradient_of, T, gamma, value, slope):
    """By yzd-v/cls_KD, mmcls/models/dis_losses/nkd.py; `slope` is the length of the gradient."""
    term = NKD(T=T, gamma=gamma, weight=1.0)

    def nkd(logits):
        return term(Output(logits, {}), teacher, batch)

    assert nkd(student.logits).item() == pytest.approx(value, abs=1e-11)
    assert gradient_of(nkd, student.logits).norm().item() == pytest.approx(slope, abs=1e-11)


def test_by_default_it_is_the_papers_whatever_the_root_temperature_is(compose):
    for words in (["loss=nkd"], ["loss=nkd", "T=8"]):
        options = resolve_config(compose(*words)).loss["nkd"]
        assert (options["T"], options["gamma"]) == (1.0, 1.5)
    tied = resolve_config(compose("loss=nkd", "T=8", "loss.nkd.T=${T}"))
    assert tied.loss["nkd"]["T"] == 8.0


@pytest.mark.parametrize(("T", "gamma"), [(1.0, 1.5), (3.0, 3.5), (4.0, 0.0)])
def test_numpy_reference(T, gamma):
    rng = np.random.default_rng(0)
    zs, zt = rng.normal(0, 3, (2, 32, 10))
    labels = rng.integers(0, 10, 32)
    batch = Batch(torch.zeros(32, 1, 2, 2), torch.from_numpy(labels), torch.arange(32))
    outputs = Output(torch.from_numpy(zs), {}), Output(torch.from_numpy(zt), {})
    value = NKD(T=T, gamma=gamma, weight=1.0)(*outputs, batch).item()
    assert value == pytest.approx(numpy_nkd(zs, zt, labels, T, gamma), rel=1e-10)


def test_a_certain_teacher_leaves_the_cross_entropy_of_the_label(student, batch):
    certain = Output(1e3 * torch.nn.functional.one_hot(batch.labels, 5).double(), {})
    value = NKD(T=1, gamma=0, weight=1.0)(student, certain, batch)
    torch.testing.assert_close(value, cross_entropy(student.logits, batch.labels))


def test_the_student_may_give_the_label_any_logit_for_the_other_classes(student, teacher, batch):
    def others(logits):
        whole, target = (
            NKD(T=2, gamma=gamma, weight=1.0)(Output(logits, {}), teacher, batch)
            for gamma in (1.0, 0.0)
        )
        return whole - target

    moved = student.logits + 5 * torch.nn.functional.one_hot(batch.labels, 5)
    torch.testing.assert_close(others(moved), others(student.logits))
