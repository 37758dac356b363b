"""Reading scalars from the device."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from toys import make_stream, make_student, make_teacher, make_val, train

from kdsweep.training import trainer
from kdsweep.training.mutual import Peers
from kdsweep.training.readings import read
from kdsweep.training.trainer import fit

# Methods that wait for the device; `tolist` of a tensor on the CPU calls no operator.
METHODS = ("tolist", "cpu", "numpy", "item", "__bool__", "__float__", "__int__", "nonzero")


class _Methods(TorchFunctionMode):
    def __init__(self, count: Counter[str]) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if (name := getattr(func, "__name__", "")) in METHODS:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __init__(self, count: Counter[str]) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := func.overloadpacket.__name__) == "_local_scalar_dense":
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def transfers() -> Iterator[Counter[str]]:
    """Counts what reads values from the device."""
    count: Counter[str] = Counter()
    with _Methods(count), _Operators(count):
        yield count


def test_values_are_read_by_name_in_float64() -> None:
    given: list[Mapping[str, Tensor]] = [
        {"a": torch.tensor(0.1, dtype=torch.float64), "b": torch.tensor(2.0)},
        {},
        {"a": torch.tensor(3.0, requires_grad=True)},
    ]
    assert read(given) == [{"a": 0.1, "b": 2.0}, {}, {"a": 3.0}]
    assert read([]) == []


def test_all_values_are_one_transfer() -> None:
    with transfers() as count:
        read([{"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"a": torch.tensor(3.0)}])
    assert count == {"tolist": 1}


@pytest.mark.parametrize("size", [1, 4])
def test_the_end_of_an_epoch_is_one_transfer_for_the_whole_cohort(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[Counter[str]] = []
    original = trainer.read_epoch

    def counted(*given: Any) -> Any:
        with transfers() as count:
            found = original(*given)
        counts.append(count)
        return found

    monkeypatch.setattr(trainer, "read_epoch", counted)
    train([make_student(model="cnn", optimizer=torch.optim.SGD) for _ in range(size)], epochs=2)
    assert counts == [{"tolist": 1}] * 2


def test_nothing_else_of_a_training_waits_once_more_with_more_students() -> None:
    def waits(size: int) -> Counter[str]:
        students = [make_student(optimizer=torch.optim.SGD) for _ in range(size)]
        with transfers() as count:
            train(students, epochs=2)
        return count

    assert waits(1) == waits(3)


def test_peers_are_read_with_the_rest() -> None:
    seen: list[dict[str, float]] = []
    peers = Peers({"student": make_student(), "other": make_student(seed=1)})
    fit(
        [peers, make_student(terms={})],
        make_stream(),
        teacher=make_teacher(),
        splits=[make_val()],
        epochs=1,
        threads=1,
        record=lambda student, metrics: seen.append(metrics),
    )
    assert list(seen[0]) == [
        *("train/loss", "train/ce", "train/kl", "train/acc", "lr", "grad_ratio/kl"),
        *("val/acc", "val/loss", "val/ece", "val/agreement", "images_per_second"),
    ]
    assert len(seen) == 3
