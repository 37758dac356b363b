"""What the command line of another repository accepts, and the options that one gives.

`Options` keeps account of the options that were read: the others are named in a note, so that none
is dropped in silence.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kdsweep.common.suggestions import did_you_mean
from kdsweep.errors import UserError
from kdsweep.interop.translation import Translation, number

Given = Mapping[str, str]  # an option's name -> its text


@dataclass(frozen=True)
class CommandLine:
    """What a repository's command line accepts."""

    # An option's name -> its default: a text, a number, or None for a number without a default
    values: Mapping[str, float | str | None]
    aliases: Mapping[str, str] = field(default_factory=dict)  # another name -> that in `values`
    flags: Collection[str] = ()  # options without a value
    lists: Collection[str] = ()  # options with one or more values, not translated
    others: Collection[str] = ()  # accepted and not translated; may have * for any part of a name
    positional: str = ""  # the name for a word without a name, if there may be one

    def accepts(self, name: str) -> bool:
        """Whether an option has this name."""
        known = (self.values, self.aliases, self.flags, self.lists, (self.positional,))
        return any(name in names for names in known) or any(
            fnmatchcase(name, pattern) for pattern in self.others
        )


class Options:
    """The options of one command line, with the repository's defaults.

    Raises UserError for an option that the command line does not accept.
    """

    def __init__(self, given: Given, command: CommandLine) -> None:
        for name in given:
            if not command.accepts(name):
                one_of("an option", name, [*command.values, *command.aliases, *command.flags])
        self._given = dict(given)
        self._command = command
        self._read: set[str] = set()

    def gives(self, *names: str) -> bool:
        """Whether the command line gives one of these; this does not count as reading them."""
        return any(name in self._given for name in names)

    def flag(self, name: str) -> bool:
        """Whether the command line has this flag."""
        self._read.add(name)
        return name in self._given

    def text(self, name: str, allowed: Collection[str] = ()) -> str:
        """The text of an option. Raises UserError for one that is not allowed, if any are named."""
        self._read.add(name)
        text = self._given.get(name, self._command.values[name])
        if text is None:
            raise UserError(f"{name} must be given, it has no default there")
        if allowed:
            one_of(name, str(text), allowed)
        return str(text)

    def number(self, name: str) -> float:
        """The number of an option. Raises UserError for any other text, and if there is none."""
        return _finite(name, self.text(name))

    def optional(self, name: str) -> float | None:
        """The number of an option, None if it is not given and has no default."""
        return self.number(name) if self.gives(name) or self._default(name) is not None else None

    def weight(self, name: str) -> float:
        """A number >= 0."""
        if (value := self.number(name)) < 0:
            raise UserError(f"{name} must be >= 0, got {number(value)}")
        return value

    def temperature(self, name: str) -> float:
        """A number > 0."""
        if (value := self.number(name)) <= 0:
            raise UserError(f"{name} must be > 0, got {number(value)}")
        return value

    def fixed(self, *names: str) -> None:
        """Raises UserError for those with another value than their default, which cannot be set."""
        for name in names:
            default = self._default(name)
            if isinstance(default, str):
                self.text(name, [default])
            elif default is not None and self.number(name) != default:
                only, got = number(default), number(self.number(name))
                raise UserError(f"{name} must be {only}, the only value known here, got {got}")

    def overrides(self, templates: Mapping[str, str]) -> list[str]:
        """The overrides for those of the options that are given."""
        return [
            template.format(number(self.number(name)))
            for name, template in templates.items()
            if self.gives(name)
        ]

    def translation(self, words: Sequence[str], notes: Sequence[str] = ()) -> Translation:
        """These overrides, with a note that names every option that was given and not read."""
        return Translation([*words], [*notes, *self.left_out()])

    def left_out(self) -> list[str]:
        """The note that names every option that was given and not read, if there is any."""
        unread = [
            f"{name}={text}" if text else name
            for name, text in self._given.items()
            if name not in self._read
        ]
        return [f"not translated: {' '.join(unread)}"] if unread else []

    def _default(self, name: str) -> float | str | None:
        return self._command.values[name]


def _finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {text}")
    return value


def one_of(name: str, value: str, allowed: Collection[str] | Mapping[str, Any]) -> None:
    """Raises UserError for a value that is not allowed."""
    if value not in allowed:
        raise UserError(
            f"{name} must be one of {', '.join(allowed)}, got {value}{did_you_mean(value, allowed)}"
        )
