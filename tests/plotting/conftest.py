import pytest

from kdsweep.plotting import drawing


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time, and half the resolution shows the same."""
    monkeypatch.setattr(drawing, "DPI", 60)
