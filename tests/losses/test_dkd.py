import pytest
import torch

from kdsweep.losses.dkd import DKD, divergences
from kdsweep.losses.kl import kl_divergence


@pytest.mark.parametrize(
    ("T", "alpha", "beta", "value"),
    [
        (4, 1, 8, 6.4039307428),
        (4, 1, 2, 1.9183912318),
        (4, 1, 0, 0.4232113948),
        (4, 0, 1, 0.7475899185),
        (1, 1, 1, 0.5904439659),
    ],
)
def test_golden_values(student, teacher, batch, T, alpha, beta, value):
    term = DKD(T=T, alpha=alpha, beta=beta, weight=1.0)
    assert term(student, teacher, batch).item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("T", [1.0, 4.0, 16.0])
def test_of_each_image_kl_is_tckd_and_the_teachers_doubt_times_nckd(student, teacher, batch, T):
    whole = []
    for i, label in enumerate(batch.labels):
        image = student.logits[i : i + 1], teacher.logits[i : i + 1]
        parts = divergences(*image, label.view(1), T)
        doubt = 1 - (teacher.logits[i] / T).softmax(0)[label]
        whole.append(parts[0] + doubt * parts[1])
        torch.testing.assert_close(whole[-1], kl_divergence(*image, T))
    if T == 1.0:
        assert torch.stack(whole).mean().item() == pytest.approx(0.5683114788, abs=1e-9)


def test_alpha_and_beta_weigh_the_two_parts(student, teacher, batch):
    target, others = divergences(student.logits, teacher.logits, batch.labels, 2.0)
    value = DKD(T=2, alpha=0.3, beta=1.7, weight=1.0)(student, teacher, batch)
    torch.testing.assert_close(value, 0.3 * target + 1.7 * others)


def test_with_two_classes_only_the_target_class_counts(student, teacher):
    zs, zt, labels = student.logits[:, :2], teacher.logits[:, :2], torch.tensor([0, 1, 0, 1])
    target, others = divergences(zs, zt, labels, 4.0)
    assert others.item() == 0.0
    torch.testing.assert_close(target, kl_divergence(zs, zt, 4.0))


def test_the_label_of_mdistiller_is_hidden_by_1000(student, teacher, batch):
    hidden = 1000.0 * torch.nn.functional.one_hot(batch.labels, 5)
    log_q, log_p = ((o.logits / 4 - hidden).log_softmax(1) for o in (student, teacher))
    expected = 16 * (log_p.exp() * (log_p - log_q)).sum(1).mean()
    _, value = divergences(student.logits, teacher.logits, batch.labels, 4.0)
    torch.testing.assert_close(value, expected)
