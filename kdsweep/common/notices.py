"""Notes and warnings that are logged once per process, even if their reason is met repeatedly."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(text: str, *about: object) -> None:
    """Log a warning, unless this process has logged it before about the same thing."""
    logger.warning("%s", text)


@cache
def note_once(text: str) -> None:
    """Log what was done, unless this process has logged it before."""
    logger.info("%s", text)
