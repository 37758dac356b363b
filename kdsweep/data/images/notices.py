"""Warnings about data, logged once even if the same data is read again."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(text: str) -> None:
    """Log a warning, unless this process has logged it before."""
    logger.warning("%s", text)
