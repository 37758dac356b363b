"""Networks that return their logits in a mapping, as those of Hugging Face's transformers do."""

from collections.abc import Mapping

from torch import Tensor, nn


def return_logits(model: nn.Module) -> None:
    """Make a network return its logits (B, C), as a tensor, whatever else it computes.

    A call of it then raises ValueError unless its forward pass gives a tensor, or something with
    `logits`: a mapping, or a ModelOutput.
    """
    model.register_forward_hook(_logits_of)


def returns_logits(model: nn.Module) -> bool:
    """Whether `return_logits` has been called for it."""
    return _logits_of in model._forward_hooks.values()


def _logits_of(model: nn.Module, inputs: object, output: object) -> Tensor:
    if isinstance(output, Tensor):
        return output
    held = ""
    if isinstance(output, Mapping):
        logits, held = output.get("logits"), f" with {', '.join(map(str, output))}"
    else:
        logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"{type(model).__name__} must return logits, as a tensor or in a mapping with logits,"
            f" got {type(output).__name__}{held}"
        )
    return logits
