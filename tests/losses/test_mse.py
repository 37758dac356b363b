import numpy as np
import pytest

from kdsweep.losses.mse import MSE


def test_golden_value(student, teacher, batch):
    value = MSE(weight=1.0)(student, teacher, batch)
    assert value.item() == pytest.approx(3.1444268860, abs=1e-9)


def test_numpy_reference(student, teacher, batch):
    expected = np.mean((student.logits.numpy() - teacher.logits.numpy()) ** 2)
    value = MSE(weight=1.0)(student, teacher, batch)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_zero_when_the_student_equals_the_teacher(student, batch):
    assert MSE(weight=1.0)(student, student, batch).item() == 0.0
