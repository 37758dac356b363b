"""A worker process that is given one unit after the other, by the process that has started it.

Numbers of units come in, a line each; a line of JSON goes out when it is ready, and when a unit is
over. Where no more comes in, because that process has closed the pipe or is gone, the unit in
training is parked.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from kdsweep.common.passwords import redact_text
from kdsweep.common.text import one_line
from kdsweep.errors import UserError
from kdsweep.work.attempt import PARKED
from kdsweep.work.worker import Worker

READY, REFUSED = "ready", "refused"  # the latter: it is not trained here, for the reason


def own_output() -> TextIO:
    """What was standard output; from here on all that is printed goes where errors go."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return output


def serve(worker: Worker, lines: Iterable[str], output: TextIO) -> None:
    """Train the units whose numbers are read, until there are no more or one was parked."""
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(int(line))
        worker.stopping.request()
        waiting.put(None)

    threading.Thread(target=read, name="units", daemon=True).start()
    _send(output, None, READY)
    while (number := waiting.get()) is not None and not worker.stopping.is_requested:
        state = _train(worker, number, output)
        if state == PARKED:
            return


def _train(worker: Worker, number: int, output: TextIO) -> str:
    try:
        state, reason = worker.run(number)
    except (UserError, OSError) as error:
        state, reason = REFUSED, redact_text(one_line(error))
        print(reason, file=sys.stderr, flush=True)
    _send(output, number, state, reason)
    return state


def _send(output: TextIO, number: int | None, state: str, reason: str | None = None) -> None:
    with suppress(OSError):  # the other process may be gone, and its pipe with it
        print(json.dumps({"number": number, "state": state, "reason": reason}), file=output)
