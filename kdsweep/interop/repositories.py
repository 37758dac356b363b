"""Translation of the command lines of other repositories into overrides for train.py.

One function per repository, which takes its options by their names there. What a loss consists of
besides weights and temperatures is in docs/losses.md.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kdsweep.interop import mdistiller as md
from kdsweep.interop import toolkits
from kdsweep.interop.config_files import with_config
from kdsweep.interop.kd_pytorch import COMMAND as KD_PYTORCH
from kdsweep.interop.kd_pytorch import kd_pytorch
from kdsweep.interop.logit_standardization import command_line, logit_standardization
from kdsweep.interop.options import CommandLine, Given, Options, one_of
from kdsweep.interop.repdistiller import COMMAND as REPDISTILLER
from kdsweep.interop.repdistiller import repdistiller
from kdsweep.interop.timm import COMMAND as TIMM
from kdsweep.interop.timm import timm
from kdsweep.interop.torchdistill import COMMAND as TORCHDISTILL
from kdsweep.interop.torchdistill import torchdistill
from kdsweep.interop.translation import Translation
from kdsweep.interop.words import launcher, parse_options, split_program


class Repository(NamedTuple):
    """How the command line of a repository is read and translated."""

    translate: Callable[[Options], Translation]
    command_line: CommandLine | Callable[[Given], CommandLine]  # may depend on what is given
    config: str = ""  # the option that names a yaml file of options, if there is one
    programs: Sequence[str] = ()  # whose command line it is; any if there are none

    def accepted(self, given: Given) -> CommandLine:
        """The command line that has these options."""
        return self.command_line(given) if callable(self.command_line) else self.command_line


REPOSITORIES = {
    "repdistiller": Repository(repdistiller, REPDISTILLER, programs=["train_student.py"]),
    "torchdistill": Repository(torchdistill, TORCHDISTILL),
    "mdistiller": Repository(md.mdistiller, md.command_line, config="cfg", programs=["train.py"]),
    "logit-standardization-kd": Repository(
        logit_standardization, command_line, config="cfg", programs=["train.py"]
    ),
    "timm": Repository(timm, TIMM, config="config", programs=["train.py", "distributed_train.sh"]),
    "kd-pytorch": Repository(kd_pytorch, KD_PYTORCH, programs=["trainer", "trainer.py"]),
    "kd_lib": Repository(toolkits.kd_lib, toolkits.KD_LIB),
    "distiller": Repository(toolkits.distiller, toolkits.DISTILLER),
    "mmrazor": Repository(toolkits.mmrazor, toolkits.MMRAZOR),
    "modelopt": Repository(toolkits.modelopt, toolkits.MODELOPT),
}


def translate(source: str, words: Sequence[str]) -> Translation:
    """The overrides that are equivalent to ``words`` in the repository ``source``.

    ``words`` are options in any of the forms ``alpha=0.9``, ``--alpha 0.9`` and ``alpha 0.9``; the
    program may precede them, as in ``python train_student.py --alpha 0.9``. A note names every
    option that has no part in the overrides.

    Raises UserError for an unknown repository, program or option, and for an invalid value.
    """
    one_of("--from", source, REPOSITORIES)
    repository = REPOSITORIES[source]
    program, rest = split_program(words)
    if program and repository.programs:
        one_of(f"a program of {source}", Path(program[-1]).name, repository.programs)
    given = with_config(parse_options(rest, repository.accepted({})), repository.config)
    translation = repository.translate(Options(given, repository.accepted(given)))
    if extra := launcher(program):
        translation.notes.append(f"not translated: {' '.join(extra)}")
    return translation
