"""Python's garbage collector, which looks at every object again and again."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """For many objects at once, all of them in use: nothing is collected meanwhile.

    Looking through them again and again takes longer than making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def kept_for_good() -> Iterator[None]:
    """For imports: what is made inside is kept by modules, and never looked at by the collector.

    Torch and what comes with it are half a million objects. Collecting while they are made, and
    looking at them again later, takes a second of a short sweep, and frees nothing. In a process
    of several sweeps only the first one imports: what has become garbage since would be kept, too.
    """
    known = len(sys.modules)
    with without_collection():
        try:
            yield
        finally:
            if len(sys.modules) > known:
                gc.freeze()


def leave_rest_to_system() -> None:
    """Have nothing collected when the process ends, which frees all of its memory anyway.

    Python would look at every object of every module twice.
    """
    atexit.register(gc.freeze)
