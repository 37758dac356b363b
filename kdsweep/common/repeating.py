"""Something that is done again and again, next to a call that takes long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(name: str, action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Inside, call ``action`` every so many seconds, in a thread of this name that ends with it.

    The first call is after ``seconds``. ``action`` must catch its own errors: one ends the calls.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
