"""Experiments next to the loop over students: CUDA graphs, and students stacked by `torch.func`.

Both train the bare students of `floor.py` with SGD. Their results are compared with those of the
loop, because a sweep promises each run the bits of a separate one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Protocol

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim import SGD

from speed.floor import BareStudent, ReadyBatch
from speed.solo_loop import distillation_loss

WARM_UP = 3  # steps before a graph is captured, in which memory is allocated
State = list[dict[str, Tensor]]  # parameters and buffers of each student


class Trained(Protocol):
    """Students that are trained together."""

    def step(self, batch: ReadyBatch) -> object: ...

    def state(self) -> State: ...


class Looped:
    """One student after the other, as a sweep trains them."""

    def __init__(self, students: Sequence[BareStudent]) -> None:
        self.students = students

    def step(self, batch: ReadyBatch) -> None:
        for student in self.students:
            student.step(batch)

    def state(self) -> State:
        return [dict(student.model.state_dict()) for student in self.students]


class Graphed(Looped):
    """The same steps, captured once as a CUDA graph and replayed, on batches of one size."""

    def __init__(self, students: Sequence[BareStudent], example: ReadyBatch) -> None:
        super().__init__(students)
        if example.images.device.type != "cuda":
            raise RuntimeError("CUDA graphs need a CUDA device")
        self.inputs = ReadyBatch(*(torch.clone(part) for part in example))
        before = deepcopy(self.state())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                super().step(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        for student in students:
            student.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        # The thread of a DataLoader that pins memory may call CUDA meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            super().step(self.inputs)
        self._restore(before)

    def step(self, batch: ReadyBatch) -> None:
        for static, part in zip(self.inputs, batch, strict=True):
            static.copy_(part)
        self.graph.replay()

    @torch.no_grad()
    def _restore(self, before: State) -> None:
        """In place: the graph refers to these tensors."""
        for student, weights in zip(self.students, before, strict=True):
            student.model.load_state_dict(weights)
            for state in student.optimizer.state.values():
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].zero_()


class Stacked:
    """All students in one call: parameters stacked along a new axis, `vmap` over it."""

    def __init__(self, students: Sequence[BareStudent]) -> None:
        models, (first, *_) = [student.model for student in students], students
        group = first.optimizer.param_groups[0]
        assert isinstance(first.optimizer, SGD)
        self.lr, self.momentum, self.decay = (
            group[key] for key in ("lr", "momentum", "weight_decay")
        )
        self.precision = first.precision
        self.parameters, self.buffers = stack_module_state(models)
        self.averages: dict[str, Tensor] = {}
        self.base = deepcopy(first.model).to("meta").train()
        device = next(first.model.parameters()).device
        weights = [(student.T, student.alpha) for student in students]
        self.T, self.alpha = torch.tensor(weights, device=device).unbind(1)
        per_student = (0, 0, 0, 0, None)
        self.gradients = vmap(grad(self._loss), in_dims=per_student, randomness="different")

    def step(self, batch: ReadyBatch) -> None:
        gradients = self.gradients(self.parameters, self.buffers, self.T, self.alpha, batch)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self._update(name, parameter, gradients[name])

    def state(self) -> State:
        both = {**self.parameters, **self.buffers}
        return [{name: both[name][place] for name in both} for place in range(len(self.T))]

    def _loss(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        T: Tensor,
        alpha: Tensor,
        batch: ReadyBatch,
    ) -> Tensor:
        is_bf16, kind = self.precision == "bf16", batch.images.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=is_bf16, cache_enabled=False):
            logits = functional_call(self.base, (parameters, buffers), (batch.images,))
        target = batch.teacher_logits, batch.labels
        return distillation_loss(logits.float(), *target, T, alpha)  # type: ignore[arg-type]

    def _update(self, name: str, parameter: Tensor, gradient: Tensor) -> None:
        gradient = gradient.add(parameter, alpha=self.decay)
        if name in self.averages:
            self.averages[name].mul_(self.momentum).add_(gradient)
        else:
            self.averages[name] = gradient.clone()
        parameter.sub_(self.averages[name], alpha=self.lr)


def difference(trained: Trained, looped: Looped, batches: Sequence[ReadyBatch]) -> dict[str, float]:
    """How far students are from those of the loop after a step on each batch.

    Returns the largest difference relative to the largest value, and the share of tensors whose
    bits are equal.
    """
    for batch in batches:
        trained.step(batch)
        looped.step(batch)
    equal, largest, scale, count = 0, 0.0, 0.0, 0
    for tensors, expected in zip(trained.state(), looped.state(), strict=True):
        for name, tensor in expected.items():
            one, other = tensors[name].double(), tensor.double()
            equal, count = equal + torch.equal(one, other), count + 1
            largest = max(largest, (one - other).abs().max().item())
            scale = max(scale, other.abs().max().item())
    relative = largest / scale if math.isfinite(largest) and scale else math.nan
    return {"largest": relative, "equal": equal / count, "steps": len(batches)}


Make = Callable[[Sequence[BareStudent], ReadyBatch], Trained]
EXPERIMENTS: dict[str, Make] = {
    "CUDA graph": Graphed,
    "stacked (torch.func)": lambda students, example: Stacked(students),
}
