"""benchmarks/compare_with_authors.py: its table in docs/losses.md, and made checkouts."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

TOP = Path(__file__).parents[1]
DOC = (TOP / "docs" / "losses.md").read_text()
FILE = Path("kd_data/code/image_classfication/tools/losses.py")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    return importlib.import_module("compare_with_authors")


def checkout(folder: Path, code: str) -> Path:
    """A folder with a checkout of kd_data whose mse_logit is this expression of s and t."""
    path = folder / FILE
    path.parent.mkdir(parents=True)
    (path.parent / "__init__.py").write_text("raise RuntimeError")
    (path.parent / "base.py").write_text("def moved(tensor): return tensor.cuda()")
    path.write_text(
        "import torch, no_such_package\nfrom no_such_package import registered, Base\n"
        "from .base import moved\n"
        "no_such_package.download(torch.zeros(1).cuda())\n"  # statements of a script
        "@registered.loss()\nclass Loss(torch.nn.Module): pass\nclass Trainer(Base): pass\n"
        f"def mse_logit(s, t):\n    Loss().cuda()\n    return moved({code})\n"
    )
    return folder


def paper(loss: str) -> str:
    """From the first table of docs/losses.md."""
    cells = re.search(rf"^\| `{loss}` \|[^|\n]*\|([^|\n]*)\|", DOC, re.MULTILINE)
    assert cells is not None, loss
    return cells[1].strip()


def test_the_table_has_every_row_and_every_published_loss(script: Any) -> None:
    report = importlib.import_module("authors.report")
    block = DOC.split(report.BEGIN)[1].split(report.END)[0]
    shown = [line.strip("| ").split(" | ") for line in block.strip().splitlines()[2:]]
    assert [cells[:2] for cells in shown] == [
        [f"`{row.loss}`", report.source(row)] for row in script.rows_of([])
    ]
    losses = {path.stem for path in (TOP / "conf" / "loss").glob("*.yaml")}
    published = {loss for loss in losses if paper(loss)}
    assert len(published) >= 20
    assert {row.loss for row in script.rows_of([])} >= published
    figures = torch.tensor([[float(number) for number in cells[2:]] for cells in shown])
    assert figures.shape == (len(shown), 4)
    assert figures[:, :2].max() < script.BOUND
    assert figures[:, 2:].max() < 1e-5


def test_an_equal_loss_has_an_error_of_rounding_alone(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkout(tmp_path, "((s - t) ** 2).sum() / s.numel()")
    assert script.main([str(folder), "mse"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    row = re.escape("| `mse` | kd_data [code/image_classfication/tools/losses.py](")
    figures = re.search(rf"{row}.*?\)(.*)\|", printed.out)
    assert figures is not None
    *double, value, gradient = (float(cell) for cell in figures[1].split("|") if cell.strip())
    assert max(double) < 1e-14
    assert min(value, gradient) > 1e-9
    assert max(value, gradient) < 1e-6


@pytest.mark.parametrize(
    "code", ["((s - t) ** 2).mean() + s.sum() * 0 + 1e-9", "(s * (s - t)).mean()"]
)
def test_another_loss_is_reported(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    assert script.main([str(checkout(tmp_path, code)), "mse"]) == 1
    assert "mse differs from kd_data by more than 1e-12" in capsys.readouterr().err


def test_a_missing_checkout_and_a_missing_file_are_reported(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(tmp_path), "mse"]) == 1
    assert f"mse: {tmp_path}/kd_data must be a checkout of https://" in capsys.readouterr().err
    (tmp_path / "kd_data").mkdir()
    assert script.main([str(tmp_path), "mse", "cosine"]) == 1
    printed = capsys.readouterr()
    assert f"mse: {tmp_path}/kd_data must have code/image_classfication/tools" in printed.err
    assert "| `cosine` | PyTorch's" in printed.out


def test_unknown_losses_are_refused(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(["folder", "klx"])
    assert "loss must be one of ab, at, cat_kd, cc, ce," in capsys.readouterr().err


def test_the_table_is_written_between_its_markers(script: Any, tmp_path: Path) -> None:
    report = importlib.import_module("authors.report")
    doc = tmp_path / "losses.md"
    doc.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write("new", doc)
    assert doc.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
