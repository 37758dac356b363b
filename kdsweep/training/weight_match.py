"""Weights from a file of anywhere into a network: the only part of the file that fits it.

A file may have its weights in a mapping of any name (`{"state_dict": ...}`), next to others, under
names with a prefix that all of a network's share (`module.`, `student.`). A part fits if it has all
names of the network and no others under its prefix, in the same shapes. Exactly one must. The names
are the network's own, or those that RepDistiller's checkpoints have for them. The tensors of a
network's head may be excepted: those that a file lacks, or has for other classes, become 0, as in
BiT (Kolesnikov et al. 2020, arXiv 1912.11370).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.common.text import counted
from kdsweep.training.learned_positions import is_positions, resample, tokens_in_front
from kdsweep.training.repdistiller_names import ORIGIN, refuse_other_form, repdistiller_names
from kdsweep.training.weight_files import read_weight_file
from kdsweep.training.weight_fit import (
    COUNTER,
    check_names_and_shapes,
    differences,
    first_names,
    fit_weights,
    type_name,
)

# The names of wrappers inside of a name, as of a compiled submodule.
WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
DEPTH = 4  # of the mappings in a file that are looked at


class Naming(NamedTuple):
    """Names that a file may have for the tensors of a network.

    Attributes:
        origin: whose they are; empty for the network's own.
        names: by the network's own.
        expected: the network's tensors, by these names.
        head: those of these names whose tensors a file need not have.
        positions: those of learned positions, which may be of images of another size.
    """

    origin: str
    names: dict[str, str]
    expected: dict[str, Tensor]
    head: frozenset[str] = frozenset()
    positions: frozenset[str] = frozenset()


class Part(NamedTuple):
    """Tensors of a file, some of which have names of the network.

    Attributes:
        naming: the names that they have.
        place: the keys of its mapping in the file, `state_dict`; empty for the whole file.
        prefix: of its names in that mapping.
        tensors: by their names in the file, without the prefix and without wrappers.
        wrappers: that were inside of names.
        others: names of the mapping without the prefix.
    """

    naming: Naming
    place: str
    prefix: str
    tensors: dict[str, Tensor]
    wrappers: tuple[str, ...]
    others: list[str]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those that the network takes, by its own names."""
        names, new, expected = self.naming.names.items(), self.zeroed, self.naming.expected
        weights = {
            own: self.tensors[name]
            for own, name in names
            if name in self.tensors and name not in new
        }
        resampled = [(own, name) for own, name in names if name in self.resampled]
        return weights | {own: resample(expected[name], weights[own]) for own, name in resampled}

    @property
    def resampled(self) -> list[str]:
        """The names of learned positions that it has for images of another size."""
        expected, given = self.naming.expected, self.tensors
        return [
            name
            for name in self.naming.positions
            if tokens_in_front(expected[name], given.get(name)) is not None
        ]

    @property
    def zeroed(self) -> list[str]:
        """The names of the head that it lacks, or has for another number of classes."""
        return [
            name
            for name, own in self.naming.expected.items()
            if name in self.naming.head and not _is_taken(own, self.tensors.get(name))
        ]

    @property
    def dropped(self) -> list[str]:
        """Its own names of a head, which the network has of another size or form."""
        layers = tuple({f"{name.rpartition('.')[0]}." for name in self.naming.head})
        other = self.tensors.keys() - self.naming.expected.keys()
        new = set(self.zeroed)
        return [n for n in self.tensors if n in new or (n in other and n.startswith(layers))]

    @property
    def matching(self) -> int:
        """How many of the network's names it has."""
        return len(self.weights)

    @property
    def compared(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors of the network and its own that must be alike: no heads, nor positions."""
        resampled = set(self.resampled)
        new, dropped = resampled | set(self.zeroed), resampled | set(self.dropped)
        return (
            {name: own for name, own in self.naming.expected.items() if name not in new},
            {name: given for name, given in self.tensors.items() if name not in dropped},
        )

    @property
    def differences(self) -> list[str]:
        """What keeps it from fitting the network."""
        return differences(*self.compared)

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


def load_file_into(
    model: nn.Module, word: str, head: Collection[str] = (), *, resamples: bool = False
) -> str | None:
    """Load a file of weights, or the part of it that the word selects, into a model.

    Args:
        head: the names of those tensors of the model that become 0 where the file lacks them or has
            them for another number of classes.
        resamples: whether learned positions may be of images of another size.

    Returns how the file was read, None if its names and types are just those of the model. Raises
    ValueError if no part of it fits, or several that are not equal.
    """
    path, selected = split_selection(word)
    content = read_weight_file(path)
    part = matching_part(namings(model, head, resamples), content.tree, path, selected)
    in_file = f"{path} ({part})" if part.label else str(path)
    if part.naming.origin:
        in_file += f" with names of {part.naming.origin}"
    check_names_and_shapes(*part.compared, in_file)
    if part.naming.origin:
        refuse_other_form(model, in_file)
    own = model.state_dict()
    zeroed = set(part.zeroed)
    new = [name for name, given in part.naming.names.items() if given in zeroed]
    fit_weights(model, {**own, **zeros(own, new), **part.weights}, in_file)
    return _account(part, content.foreign, path)


def namings(model: nn.Module, head: Collection[str] = (), resamples: bool = False) -> list[Naming]:
    """The names that a file may have for the tensors of a network, its own first."""
    own = model.state_dict()
    positions = [name for name, tensor in own.items() if resamples and is_positions(name, tensor)]
    by_origin = {"": {name: name for name in own}}
    if names := repdistiller_names(model, list(own)):
        by_origin[ORIGIN] = names
    return [
        Naming(
            origin,
            names,
            {names[name]: tensor for name, tensor in own.items()},
            frozenset(names.get(name, name) for name in head),  # a network may lack a file's head
            frozenset(names[name] for name in positions),
        )
        for origin, names in by_origin.items()
    ]


def matching_part(
    known: Sequence[Naming], tree: Any, path: Path, selected: str | None = None
) -> Part:
    """The only part of a file's content that fits a network; the closest one if none does.

    Raises ValueError, naming them, if several fit that are not equal.
    """
    parts = [
        part
        for where, tensors in mappings(tree)
        for naming in known
        for part in _by_prefix(where, tensors, naming)
    ]
    candidates = parts if selected is None else _selected(parts, selected, path)
    fitting = [part for part in candidates if not part.differences]
    if not fitting:
        return _closest(candidates, known[0], tree, path)
    if not all(_same(fitting[0], other) for other in fitting[1:]):
        label = next(part.label for part in reversed(fitting) if part.label)
        raise ValueError(
            f"must be one network's weights, got {path}, in which {' and '.join(map(str, fitting))}"
            f" fit and differ; {path}:{label} selects one"
        )
    return fitting[0]


def mappings(
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
        yield from mappings(value, f"{place}.{key}".lstrip("."), depth - 1)


def _by_prefix(place: str, tensors: Mapping[str, Tensor], naming: Naming) -> Iterator[Part]:
    """A part for every prefix with which the tensors have names of the network."""
    prefixes: dict[str, None] = {}
    for name in tensors:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            inner = name[start:]
            if not WRAPPERS.match(inner) and WRAPPERS.sub("", inner) in naming.expected:
                prefixes[name[:start]] = None
    for prefix in prefixes:
        named = [name for name in tensors if name.startswith(prefix)]
        inside = {WRAPPERS.sub("", name[len(prefix) :]): tensors[name] for name in named}
        wrappers = dict.fromkeys(w for n in named for w in WRAPPERS.findall(n[len(prefix) :]))
        others = [name for name in tensors if not name.startswith(prefix)]
        yield Part(naming, place, prefix, inside, tuple(wrappers), others)


def _selected(candidates: Sequence[Part], selected: str, path: Path) -> list[Part]:
    """Those parts that the user has selected."""
    chosen = [p for p in candidates if f"{p.label}.".startswith(f"{selected}.")]
    if not chosen:
        labels = {part.label: None for part in candidates if not part.differences and part.label}
        known = ", ".join(labels) or "the whole file"
        raise ValueError(
            f"must name a part of {path} that has weights of this network, {known},"
            f" got {path}:{selected}"
        )
    return chosen


def _closest(candidates: Sequence[Part], naming: Naming, tree: Any, path: Path) -> Part:
    """The part that has most of the network's names, else the largest one."""
    if candidates:
        return max(candidates, key=lambda part: part.matching)
    parts = [Part(naming, where, "", tensors, (), []) for where, tensors in mappings(tree)]
    if not parts:
        raise ValueError(f"must hold a state dict of tensors, got {path}, which does not")
    return max(parts, key=lambda part: len(part.tensors))


def _same(one: Part, other: Part) -> bool:
    """Whether two parts have the same weights."""
    weights, other_weights = one.weights, other.weights  # made anew each time
    common = weights.keys() & other_weights.keys()
    return all(torch.equal(weights[name], other_weights[name]) for name in common)


def _account(part: Part, foreign: Sequence[str], path: Path) -> str | None:
    """How a file was read, in a line; None if there is nothing to know."""
    tops = list(dict.fromkeys(_branch(name, part.prefix) for name in part.others))
    missing = len(part.naming.names) - part.matching - len(part.zeroed)
    done = [
        *([f"names of {part.naming.origin} replaced"] if part.naming.origin else []),
        *([f"prefix {part.prefix!r} removed"] if part.prefix else []),
        *(f"{wrapper!r} removed" for wrapper in part.wrappers),
        *_casts(part.naming.expected, part.tensors),
        *([f"{missing} {COUNTER} missing"] if missing else []),
        *([f"{len(part.others)} other names ignored ({first_names(tops)})"] if tops else []),
        *([f"objects of {first_names(foreign)} not read"] if foreign else []),
        *(f"{name!r} resampled to {_shape(part, name)}" for name in part.resampled),
        *new_head(part.zeroed, part.dropped),
    ]
    if not done and not part.place:
        return None
    read = f"read {part.place!r} of {path}" if part.place else f"read {path}"
    return ", ".join([read, *done])


def _shape(part: Part, name: str) -> str:
    before, after = (each[name].shape[-2] for each in (part.tensors, part.naming.expected))
    return f"{after} positions from {before}"


def zeros(own: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Tensors of zeros in place of those of a network with these names."""
    return {name: torch.zeros_like(own[name]) for name in names}


def new_head(zeroed: Sequence[str], dropped: Sequence[str]) -> list[str]:
    """What was done with the head: which tensors were dropped, and which start at 0."""
    return [
        *([f"head dropped: {_tensors(dropped)}"] if dropped else []),
        *([f"head of zeros instead: {_tensors(zeroed)}"] if zeroed else []),
    ]


def _tensors(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'tensor')} ({first_names(names)})"


def _is_taken(own: Tensor, given: Tensor | None) -> bool:
    """Whether a tensor of a head is to be loaded; one that cannot be is refused then."""
    if given is None:
        return False
    return given.shape == own.shape or given.shape[1:] != own.shape[1:]


def _branch(name: str, prefix: str) -> str:
    """The beginning of a name, with the first word that is not in a prefix: `model.teacher`."""
    pairs = zip(name.split("."), prefix.split("."), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return ".".join(name.split(".")[: common + 1])


def _casts(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The conversions between types of floats, each once."""
    floats = [name for name in own if name in given and own[name].is_floating_point()]
    pairs = dict.fromkeys((type_name(given[name]), type_name(own[name])) for name in floats)
    return [f"{before} cast to {after}" for before, after in pairs if before != after]
