"""What Hydra refuses, in sentences of our own: Hydra prints its errors itself, and exits."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from traceback import walk_tb
from typing import Any

from hydra._internal import utils
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, SearchPathException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kdsweep.errors import RunFailed, UserError

LOADER = "hydra._internal.config_loader_impl"  # what is raised in it concerns a composition

VERBOSE = "hydra.verbose"
PLUGINS = "hydra.core.plugins"  # what it raises itself, that there is no such launcher or sweeper


@contextmanager
def refusals_in_sentences() -> Iterator[None]:
    """Turn what Hydra refuses inside into a UserError, before Hydra reports it.

    Hydra reports through this one function of its, which has no public substitute;
    tests/cli/test_refusals.py fails if another version of Hydra reports elsewhere.
    """
    report = utils.run_and_report
    # A folder of configs that does not exist is refused.
    warnings.filterwarnings("ignore", "provider=.* is not available", UserWarning)

    def report_sentences(func: Any) -> Any:
        return report(lambda: _translated(func))

    utils.run_and_report = report_sentences
    try:
        yield
    except HydraException as error:  # of --help, which Hydra composes without a report
        if isinstance(error, UserError | RunFailed):
            raise
        raise UserError("\n".join(sentences_of(error))) from error
    finally:
        utils.run_and_report = report


def _translated(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        if not _is_of_hydra(error):
            raise
        refused = UserError("\n".join(sentences_of(error)))
        # Hydra prints a cause of OmegaConf's below the sentence.
        raise refused from (None if isinstance(error, OmegaConfBaseException) else error)


def _is_of_hydra(error: Exception) -> bool:
    """Whether Hydra refuses the command line: no error of a run, and no defect of ours."""
    if isinstance(error, UserError | RunFailed):
        return False
    modules = [frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__)]
    is_raised = modules[-1:] == [PLUGINS] or _is_of_logging(error) or _is_of_resolving(error)
    return isinstance(error, HydraException) or LOADER in modules or is_raised


def _is_of_logging(error: BaseException) -> bool:
    """Whether Hydra cannot set its logging up, before any run."""
    return _is_raised_in("configure_log", error) and _is_raised_in("compose_config", error)


def _is_of_resolving(error: BaseException) -> bool:
    """Whether `--cfg job --resolve` cannot resolve the config."""
    return isinstance(error, InterpolationResolutionError) and _is_raised_in("show_cfg", error)


def _is_raised_in(function: str, error: BaseException) -> bool:
    return any(frame.f_code.co_name == function for frame, _ in walk_tb(error.__traceback__))


def sentences_of(error: Exception) -> list[str]:
    """Why Hydra refuses the words of this process's command line, a sentence for each."""
    # a good command line needs none of these
    from kdsweep.config.composition import PRIMARY, Composition
    from kdsweep.config.group_faults import reason_of
    from kdsweep.config.interpolation_faults import interpolation_fault
    from kdsweep.config.refusals import refusals
    from kdsweep.config.yaml_faults import yaml_fault

    arguments = utils.get_args_parser().parse_intermixed_args()
    _show_traceback_if_debugging(arguments.overrides)
    if (switch := _of_a_switch(arguments, error)) is not None:
        return [switch]
    if GlobalHydra.instance().is_initialized():
        loader = GlobalHydra.instance().config_loader()
        try:
            name = arguments.config_name or PRIMARY
            if sentences := refusals(arguments.overrides, loader, name):
                return sentences
            if isinstance(error, InterpolationResolutionError):
                config = Composition(loader, name).compose(arguments.overrides)
                return [interpolation_fault(error, config)]
        except Exception as another:  # not even the config without any words can be composed
            error = another
    if (fault := yaml_fault(error)) is not None:
        return [f"the configs must be readable yaml files, got {fault}"]
    given = [w for w in arguments.overrides if w.lstrip("+").startswith(f"{VERBOSE}=")]
    if given and _is_of_logging(error):
        got = given[-1].partition("=")[2]
        return [f"{VERBOSE} must be true, false, a logger or a list of loggers, got {got}"]
    words = " ".join(arguments.overrides) or "none"
    return [f"the overrides must be composable, got {words}: {reason_of(error)}"]


def _of_a_switch(arguments: Any, error: Exception) -> str | None:
    """A sentence about one of Hydra's own switches, `--config-dir`, `--config-name`, `--cfg`."""
    if isinstance(error, SearchPathException):
        return f"--config-dir must be a folder that exists, got {arguments.config_dir}"
    if isinstance(error, MissingConfigException):
        if "Primary config directory" in str(error):
            return f"--config-path must be a folder of configs, got {arguments.config_path}"
        if "Cannot find primary config" in str(error):
            return f"--config-name must be a config in conf/, got {arguments.config_name}"
    if "Ambiguous value" in str(error) or "requires --multirun" in str(error):
        parser = OverridesParser.create()
        swept = [
            o for o in map(parser.parse_override, arguments.overrides) if o.is_sweep_override()
        ]
        one = "one value" + (f" with --cfg {arguments.cfg}" if arguments.cfg else "")
        return "\n".join(
            f"{o.key_or_group} must have {one}, got {str(o.input_line).partition('=')[2]}"
            for o in swept
        )
    return None


def _show_traceback_if_debugging(words: list[str]) -> None:
    """`debug=true` among words that could not be composed."""
    if any(word.lstrip("+").lower() == "debug=true" for word in words):
        os.environ["HYDRA_FULL_ERROR"] = "1"


def switch_faults(words: list[str]) -> list[str]:
    """A sentence for each word with dashes that Hydra does not know, or with a value it lacks."""
    if not any(word.startswith("-") for word in words):
        return []
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            _, unknown = utils.get_args_parser().parse_known_intermixed_args(words)
    except SystemExit as stop:
        if not stop.code:  # --version
            raise
        return [_switch_fault(printed.getvalue().rpartition("error: ")[2].strip())]
    return [
        f"{word} must be an override without dashes, {word.lstrip('-').partition('=')[0]}=VALUE,"
        f" or a switch that --hydra-help lists, got {word}"
        for word in unknown
        if word.startswith("-")
    ]


def _switch_fault(message: str) -> str:
    """A message of argparse as a sentence of ours."""
    from kdsweep.common.suggestions import did_you_mean

    if (match := re.match(r"argument ([^/:]*).*: expected one argument", message)) is not None:
        return f"{match[1]} must be followed by a value, got none"
    choice = re.match(r"argument ([^/:]*).*: invalid choice: '(.*)' \(choose from (.*)\)", message)
    if choice is None:
        return f"a switch must be one that --hydra-help lists, got {message}"
    options = choice[3].replace("'", "").split(", ")
    hint = did_you_mean(choice[2], options)
    return f"{choice[1]} must be one of {', '.join(options)}, got {choice[2]}{hint}"


def switch_error(error: Exception) -> str | None:
    """Why Hydra refuses a combination of its switches, which it raises without a report."""
    from kdsweep.config.group_faults import reason_of

    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    is_of_hydra = bool(frames) and frames[-1].f_globals.get("__name__") in SWITCHES
    if not isinstance(error, ValueError) or not is_of_hydra:
        return None
    switches = " ".join(word for word in sys.argv[1:] if word.startswith("-"))
    return f"the switches must go together, got {switches}: {reason_of(error)}"


SWITCHES = ("hydra._internal.utils", "hydra.core.utils")
