"""Shows other processes that this one still works on its trials."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kdsweep.common.processes import owner
from kdsweep.common.text import first_line
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import BEAT_SECONDS, OWNER

log = logging.getLogger(__name__)


@contextmanager
def beating(study: SearchStudy, numbers: Sequence[int]) -> Iterator[None]:
    """Inside, the owner of these trials is noted anew every `BEAT_SECONDS`.

    By a thread of its own: a teacher may train for hours before the first epoch of a student ends.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                for number in numbers:
                    study.note(number, OWNER, owner())
            except Exception as error:  # the next beat may get through
                log.warning("the study did not take a sign of life: %s", first_line(error))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
