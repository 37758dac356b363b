"""Writes generated text between the markers of a page.

<!-- make bench: NAME -->
what is replaced
<!-- end of make bench -->
"""

from collections.abc import Mapping
from pathlib import Path

END = "<!-- end of make bench -->"


def begin(name: str) -> str:
    """The marker before a block."""
    return f"<!-- make bench: {name} -->"


def block(text: str, name: str) -> str:
    """What is between the markers of a page. Raises ValueError if they are not there."""
    before, _, after = _parts(text, name)
    return text[len(before) : len(text) - len(after)].strip()


def replace_block(text: str, name: str, content: str) -> str:
    """The page with this between the markers. Raises ValueError if they are not there."""
    before, _, after = _parts(text, name)
    return f"{before}\n\n{content}\n\n{after}"


def write_blocks(page: Path, contents: Mapping[str, str]) -> None:
    """Replace several blocks of a file, or none if one of them is not there."""
    text = page.read_text()
    for name, content in contents.items():
        text = replace_block(text, name, content)
    page.write_text(text)


def _parts(text: str, name: str) -> tuple[str, str, str]:
    """Before a block with its marker, the block, and from its end on."""
    head, marker, rest = text.partition(begin(name))
    content, end, tail = rest.partition(END)
    if not marker or not end:
        raise ValueError(f"the page must have {begin(name)} and {END}")
    return head + marker, content, end + tail
