"""A train.py that ends right after its first training step: its duration is the time until then.

    python benchmarks/speed/first_step.py WORDS     # the overrides of train.py

The step is that of the first network that trains, a teacher if there is none yet. Nothing of
kdsweep is imported earlier than train.py imports it.
"""

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULE = "kdsweep.training.student"


class AfterImport(MetaPathFinder):
    """Changes the module of the students once it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None, "it is part of kdsweep"
        assert spec.loader is not None, "it is a file"
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            end_after_step(module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def end_after_step(module: Any) -> None:
    """Let the process end after the first step of a student."""
    step = module.Student.step

    def step_and_end(self: Any, *batch: Any) -> None:
        step(self, *batch)
        os._exit(0)

    module.Student.step = step_and_end


if __name__ == "__main__":
    sys.meta_path.insert(0, AfterImport())
    from kdsweep.cli import main

    main()
    sys.exit("it ended without a training step")
