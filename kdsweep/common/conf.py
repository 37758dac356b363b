"""Where the configs are."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# conf/ is packaged in the wheel; in a source checkout it stands at the top.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
