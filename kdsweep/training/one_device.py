"""What a step does on an accelerator, seen on the `meta` device, whose tensors have no values.

Reading one (`item`, `tolist`, `bool`, a mask as an index) fails there by itself, as it would wait
for an accelerator. `OneDevice` adds what `meta` lets pass.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
# On CUDA the host waits for these, because it looks for errors in their results.
WAITING = {"_linalg_eigh", "_linalg_svd", "_linalg_slogdet", "linalg_cholesky_ex", "unique_dim"}
# Without a deterministic kernel on CUDA (`torch.use_deterministic_algorithms`).
NONDETERMINISTIC = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "max_unpool2d", "fractional_max_pool2d_backward"),
    *(f"upsample_{mode}_backward" for mode in ("linear1d", "bilinear2d", "bicubic2d")),
    *(f"_upsample_{mode}_aa_backward" for mode in ("bilinear2d", "bicubic2d")),
    *(f"reflection_pad{n}d_backward" for n in (1, 2, 3)),
    *("nll_loss2d_forward", "_ctc_loss_backward", "grid_sampler_2d_backward", "histc", "put_"),
    *("median", "nanmedian", "kthvalue", "_scaled_dot_product_efficient_attention_backward"),
}


class OneDevice(TorchDispatchMode):
    """Raises for tensors of two devices in one operation; counts what an accelerator is slow at.

    Attributes:
        moved: transfers to the device.
        waiting: operations that an accelerator waits for, by name.
        nondeterministic: those without a deterministic kernel, by name.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0
        self.waiting: Counter[str] = Counter()
        self.nondeterministic: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        on_cpu = [t for t in tensors_in((*args, *kwargs.values())) if t.device != META]
        if on_cpu and kwargs.get("device") == META:
            self.moved += 1
        elif any(tensor.dim() for tensor in on_cpu) and is_mixed(args, kwargs):
            if name != "copy_":
                raise AssertionError(f"{name}: tensors of the device and of the CPU")
            self.moved += 1
        if name in WAITING:
            self.waiting[name] += 1
        if name in NONDETERMINISTIC:
            self.nondeterministic[name] += 1
        return func(*args, **kwargs)


def is_mixed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(tensor.device == META for tensor in tensors_in((*args, *kwargs.values())))


def tensors_in(values: tuple[Any, ...] | list[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


@contextmanager
def without_autocast() -> Iterator[None]:
    """`meta` has no autocast, which terms turn off."""
    autocast = torch.autocast

    def autocast_of(kind: str, *args: Any, **options: Any) -> AbstractContextManager[Any]:
        return nullcontext() if kind == "meta" else autocast(kind, *args, **options)

    torch.autocast = autocast_of  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        torch.autocast = autocast  # type: ignore[misc]
