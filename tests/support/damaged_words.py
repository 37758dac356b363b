"""Command lines that are wrong in one way each, drawn from the schema and the groups of conf/."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig

from kdsweep.config.composition import Composition, set_value
from kdsweep.config.copying import without_hydra
from kdsweep.config.keys import keys_of
from kdsweep.config.limits import MOST
from kdsweep.config.malformed import parse
from kdsweep.config.schema import TrainConfig

# What a key of this type does not take.
WRONG: dict[Any, list[str]] = {
    int: ["ten", "1.5", "[1]", "{a:1}", "1e-3", "true-ish", "''"],
    float: ["warm", "[0.1]", "{a:1}", "4..0", "0,1,warm"],
    bool: ["perhaps", "[true]", "{a:1}", "2.5"],
    str: ["[a]", "{a:b}"],
    list: ["3", "word", "{a:1}"],
    dict: ["3", "word", "[1]"],
}
RANGED = ("T", "alpha", "hard_weight", "epochs", "batch_size", "grad_clip", "lr", "wait", "seed")
FILES = ("student.checkpoint", "teacher.checkpoint")
LETTERS = "abcdefghijklmnopqrstuvwxyz_"


@dataclass(frozen=True)
class Damaged:
    """A command line, and the key that its refusal must name."""

    words: tuple[str, ...]
    key: str
    kind: str


class Damager:
    """Draws damaged command lines; the same seed draws the same ones."""

    def __init__(self, composition: Composition, seed: int) -> None:
        self.random = random.Random(seed)
        self.composition = composition
        self.keys = keys_of(without_hydra(composition.compose()))
        self.nodes = {key.rpartition(".")[0] for key in self.keys}
        self.typed = dict(_typed_keys(TrainConfig, ""))
        self.leaves = [key for key in self.keys if key not in self.nodes]
        self.groups = [g for g in composition.groups() if composition.options(g) and g != "hydra"]
        self.kinds: list[Callable[[], Damaged]] = [
            self.wrong_type,
            self.out_of_range,
            self.misspelt_key,
            self.unknown_option,
            self.missing_file,
            self.malformed_word,
        ]

    def draw(self) -> Damaged:
        (kind,) = self.random.choices(self.kinds, weights=[4, 4, 4, 4, 1, 4])
        return kind()

    def wrong_type(self) -> Damaged:
        key = self._any([k for k, hint in self.typed.items() if _kind(hint) in WRONG])
        value = self._any(WRONG[_kind(self.typed[key])])
        return Damaged((f"{key}={value}",), key, "wrong type")

    def out_of_range(self) -> Damaged:
        ranged = [k for k in self.leaves if _last(k) in RANGED and not k.startswith("loss.")]
        large = [k for k in self.leaves if _last(k) in MOST]
        if self.random.random() < 0.5:
            key = self._any(large)
            return Damaged((f"{key}={MOST[_last(key)] + 1}",), key, "too large")
        key = self._any(ranged)
        return Damaged((f"{key}=-{self.random.randint(1, 10**6)}",), key, "negative")

    def misspelt_key(self) -> Damaged:
        key = self._any(self.leaves)
        typed = self._misspelt(key, self.keys)
        value = self._any(["3", "0.5", "true", "word", "[1,2]", "1,2"])
        prefix = self._any(["", "", "", "~"])
        word = f"{prefix}{typed}" if prefix else f"{typed}={value}"
        return Damaged((word,), typed, "misspelt key")

    def unknown_option(self) -> Damaged:
        group = self._any(self.groups)
        options = self.composition.options(group)
        good, bad = self._any(options), self._misspelt(self._any(options), options)
        value = self._any([bad, bad, f"[{good},{bad}]", f"{good},{bad}", "3", "true", "null"])
        return Damaged((f"{group}={value}",), group, "unknown option")

    def missing_file(self) -> Damaged:
        name = "".join(self.random.choices(LETTERS, k=8))
        if self.random.random() < 0.2:
            words = ("dataset=image_folder", f"dataset.root=/nowhere/{name}")
            return Damaged(words, "dataset", "missing file")
        key = self._any(FILES)
        return Damaged((f"{key}=/nowhere/{name}.pt",), key, "missing file")

    def malformed_word(self) -> Damaged:
        key = self._any(self.leaves)
        value = self._any(["4", "kl", "[1,2]", "{a:1}"])
        damage = self._any(
            [
                key,
                f"{key} = {value}",
                f"{key} ={value}",
                f"{key}=[{value}",
                f"{key}={value}]",
                f"{key}={{a:{value}",
                f"{key}='{value}",
                f'{key}="{value}',
                f"{key}={value},",
                f"{key}=,{value}",
                f"{key}={value}={value}",
                f"{key}=rnage({value})",
                f"{key}=range({value}",
                f"{key}=interval(1)",
                f"{key}=${{{key}",
                f"{key}=é",
            ]
        )
        return Damaged((damage,), key, "malformed word")

    def _any(self, options: list[str]) -> str:
        return self.random.choice(options)

    def _misspelt(self, name: str, known: list[str]) -> str:
        """A name with a letter less, more, exchanged or swapped, which is no other known one."""
        while True:
            place = self.random.randrange(len(name))
            letter = self._any(list(LETTERS))
            typed = self._any(
                [
                    name[:place] + name[place + 1 :],
                    name[:place] + letter + name[place:],
                    name[:place] + letter + name[place + 1 :],
                    name[:place] + name[place : place + 2][::-1] + name[place + 2 :],
                ]
            )
            parts = typed.split(".")
            if typed not in known and all(p and (p[0].isalpha() or p[0] == "_") for p in parts):
                return typed


def _typed_keys(schema: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(schema).items():
        if is_dataclass(hint):
            yield from _typed_keys(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


def _kind(hint: Any) -> Any:
    """The type of a key, `null` and what a list holds left aside."""
    if get_origin(hint) in (list, dict):
        return get_origin(hint)
    kinds = [option for option in get_args(hint) if option is not NoneType]
    return _kind(kinds[0]) if kinds else hint


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def config_of(composition: Composition, words: tuple[str, ...]) -> DictConfig:
    """The config of words that can be composed, without its `hydra` node."""
    overrides, _ = parse(words)
    chosen = [str(o.input_line) for o in overrides if composition.chooses(o)]
    config = without_hydra(composition.compose(chosen))
    for override in overrides:
        if override.input_line not in chosen:
            set_value(config, override)
    return config
