"""Weights from a file of anywhere into a network: the only part of the file that fits it.

A file may have its weights in a mapping of any name (`{"state_dict": ...}`), next to others, under
names with a prefix that all of a network's share (`module.`, `student.`). A part fits if it has all
names of the network and no others under its prefix, in the same shapes. Exactly one must.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.training.weight_files import read_weight_file

COUNTER = "num_batches_tracked"  # of BatchNorm, since PyTorch 0.4.1; no output depends on it
PROFILED = ("total_ops", "total_params")  # buffers that the profiler thop leaves behind
# The names of wrappers inside of a name, as of a compiled submodule.
WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
DEPTH = 4  # of the mappings in a file that are looked at


class Part(NamedTuple):
    """Tensors of a file under the network's names.

    Attributes:
        place: the keys of its mapping in the file, `state_dict`; empty for the whole file.
        prefix: of its names in that mapping.
        tensors: by name without the prefix and without wrappers.
        wrappers: that were inside of names.
        others: names of the mapping without the prefix.
    """

    place: str
    prefix: str
    tensors: dict[str, Tensor]
    wrappers: tuple[str, ...]
    others: list[str]

    @property
    def label(self) -> str:
        """What selects it after the path of the file: `state_dict.student`."""
        return ".".join(filter(None, [self.place, self.prefix.rstrip(".")]))

    def __str__(self) -> str:
        return repr(self.label) if self.label else "the whole file"


def split_selection(word: str) -> tuple[Path, str | None]:
    """`FILE:state_dict_ema` as the file and the part of it that is meant; None for the only one."""
    head, colon, selected = word.rpartition(":")
    if colon and not Path(word).exists() and Path(head).is_file():
        return Path(head), selected
    return Path(word), None


def load_file_into(model: nn.Module, word: str) -> str | None:
    """Load a file of weights, or the part of it that the word selects, into a model.

    Returns how the file was read, None if its names and types are just those of the model. Raises
    ValueError if no part of it fits, or several that are not equal.
    """
    path, selected = split_selection(word)
    content = read_weight_file(path)
    own = model.state_dict()
    part = matching_part(own, content.tree, path, selected)
    fit_weights(model, part.tensors, f"{path} ({part})" if part.label else str(path))
    return _account(own, part, content.foreign, path)


def matching_part(
    own: Mapping[str, Tensor], tree: Any, path: Path, selected: str | None = None
) -> Part:
    """The only part of a file's content that fits a network; the closest one if none does.

    Raises ValueError, naming them, if several fit that are not equal.
    """
    found = [part for where, tensors in _mappings(tree) for part in _by_prefix(where, tensors, own)]
    candidates = found if selected is None else _selected(found, selected, path)
    fitting = [part for part in candidates if not differences(own, part.tensors)]
    if not fitting:
        return _closest(candidates, own, tree, path)
    if not all(_same(fitting[0], other) for other in fitting[1:]):
        label = next(part.label for part in reversed(fitting) if part.label)
        raise ValueError(
            f"must be one network's weights, got {path}, in which {' and '.join(map(str, fitting))}"
            f" fit and differ; {path}:{label} selects one"
        )
    return fitting[0]


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load weights into a model, in the model's types; names and shapes must be the same.

    The counters of BatchNorm may be missing. Raises ValueError, naming how many names match and
    the first tensors that are missing, unknown, of another shape, or not finite.
    """
    own = model.state_dict()
    if different := differences(own, weights):
        matching = len(own.keys() & weights.keys())
        raise ValueError(
            f"must be weights of this network, got {origin}: {matching} of its {len(own)} names"
            f" match; the file {'; it '.join(different)}"
        )
    cast = {name: weights[name].to(own[name]) for name in own.keys() & weights.keys()}
    for name, tensor in cast.items():
        # A mask may be infinite, as it is in a new model.
        if (~torch.isfinite(tensor) & torch.isfinite(own[name])).any():
            raise ValueError(f"{origin} must hold finite weights, got nan or inf in {name!r}")
    model.load_state_dict({**own, **cast})


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from fitting a network, as clauses; none if they fit."""
    missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in own and not name.endswith(PROFILED)]
    both = [name for name in own if name in given]
    shapes = [name for name in both if own[name].shape != given[name].shape]
    types = [name for name in both if own[name].is_floating_point() > _is_plain_float(given[name])]
    found = []
    if missing:
        found.append(f"lacks {_first(missing)}, which the model has")
    if unknown:
        found.append(f"has {_first(unknown)}, which the model lacks")
    if shapes:
        name, more = min(shapes), len(shapes) - 1
        shape, needed = tuple(given[name].shape), tuple(own[name].shape)
        also = f" ({more} more of another shape)" if more else ""
        found.append(f"has {name!r} of shape {shape}, the model needs {needed}{also}")
    if types:
        name, more = min(types), len(types) - 1
        also = f" ({more} more of another type)" if more else ""
        found.append(f"has {name!r} as {_type(given[name])}, the model needs floats{also}")
    return found


def _mappings(
    node: Any, place: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors of every mapping and list in a file's content, and where it is."""
    if isinstance(node, Mapping):
        items = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list | tuple):
        items = [(str(number), value) for number, value in enumerate(node)]
    else:
        return
    if tensors := {key: value for key, value in items if isinstance(value, Tensor)}:
        yield place, tensors
    for key, value in items if depth else ():
        yield from _mappings(value, f"{place}.{key}".lstrip("."), depth - 1)


def _by_prefix(
    place: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[Part]:
    """A part for every prefix with which the tensors have names of the network."""
    prefixes: dict[str, None] = {}
    for name in tensors:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            inner = name[start:]
            if not WRAPPERS.match(inner) and WRAPPERS.sub("", inner) in own:
                prefixes[name[:start]] = None
    for prefix in prefixes:
        named = [name for name in tensors if name.startswith(prefix)]
        inside = {WRAPPERS.sub("", name[len(prefix) :]): tensors[name] for name in named}
        wrappers = dict.fromkeys(w for n in named for w in WRAPPERS.findall(n[len(prefix) :]))
        others = [name for name in tensors if not name.startswith(prefix)]
        yield Part(place, prefix, inside, tuple(wrappers), others)


def _selected(candidates: Sequence[Part], selected: str, path: Path) -> list[Part]:
    """Those parts that the user has selected."""
    chosen = [p for p in candidates if f"{p.label}.".startswith(f"{selected}.")]
    if not chosen:
        known = ", ".join(dict.fromkeys(p.label for p in candidates if p.label)) or "the whole file"
        raise ValueError(
            f"must name a part of {path} that has weights of this network, {known},"
            f" got {path}:{selected}"
        )
    return chosen


def _closest(candidates: Sequence[Part], own: Mapping[str, Tensor], tree: Any, path: Path) -> Part:
    """The part that has most of the network's names, else the largest one."""
    if candidates:
        return max(candidates, key=lambda part: len(own.keys() & part.tensors.keys()))
    found = [Part(where, "", tensors, (), []) for where, tensors in _mappings(tree)]
    if not found:
        raise ValueError(f"must hold a state dict of tensors, got {path}, which does not")
    return max(found, key=lambda part: len(part.tensors))


def _same(one: Part, other: Part) -> bool:
    """Whether two parts have the same weights."""
    names = one.tensors.keys() & other.tensors.keys()
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in names)


def _is_plain_float(tensor: Tensor) -> bool:
    """Whether it is a dense tensor of floats with its data."""
    is_dense = tensor.layout is torch.strided and not tensor.is_meta
    return is_dense and tensor.is_floating_point()


def _type(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "a tensor without data"
    dense = "" if tensor.layout is torch.strided else "sparse "
    return f"{dense}{tensor.dtype}".replace("torch.", "")


def _first(names: Sequence[str], count: int = 2) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(repr, names[:count])) + more


def _account(
    own: Mapping[str, Tensor], part: Part, foreign: Sequence[str], path: Path
) -> str | None:
    """How a file was read, in a line; None if there is nothing to know."""
    tops = list(dict.fromkeys(_branch(name, part.prefix) for name in part.others))
    missing = len(own.keys() - part.tensors.keys())
    done = [
        *([f"prefix {part.prefix!r} removed"] if part.prefix else []),
        *(f"{wrapper!r} removed" for wrapper in part.wrappers),
        *_casts(own, part.tensors),
        *([f"{missing} {COUNTER} missing"] if missing else []),
        *([f"{len(part.others)} other names ignored ({_first(tops)})"] if tops else []),
        *([f"objects of {_first(foreign)} not read"] if foreign else []),
    ]
    if not done and not part.place:
        return None
    read = f"read {part.place!r} of {path}" if part.place else f"read {path}"
    return ", ".join([read, *done])


def _branch(name: str, prefix: str) -> str:
    """The beginning of a name, with the first word that is not in a prefix: `model.teacher`."""
    pairs = zip(name.split("."), prefix.split("."), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return ".".join(name.split(".")[: common + 1])


def _casts(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The conversions between types of floats, each once."""
    floats = [name for name in own if name in given and own[name].is_floating_point()]
    pairs = dict.fromkeys((_type(given[name]), _type(own[name])) for name in floats)
    return [f"{before} cast to {after}" for before, after in pairs if before != after]
