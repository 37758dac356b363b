"""The cell of a run: what has an effect on it, and what else is swept."""

import pytest
from commands import Compose

from kdsweep.config.resolve import resolve_config
from kdsweep.runs.naming import cell_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "kl T=4 alpha=0.5"),
        (["T=2.50"], "kl T=2.5 alpha=0.5"),
        (["loss=ce"], "ce"),
        (["loss=mse"], "mse alpha=0.5"),
        (["loss=[kl,fitnet]"], "fitnet+kl T=4 alpha=0.5"),
        (["loss=fitnet"], "fitnet"),
    ],
)
def test_a_cell_names_what_has_an_effect(compose: Compose, words: list[str], expected: str) -> None:
    cfg = compose(*words)
    assert cell_of(cfg, resolve_config(cfg), []).name == expected


def test_a_cell_names_what_else_is_swept_but_not_the_seed(compose: Compose) -> None:
    words = ["student=cnn", "optimizer.lr=0.1", "seed=3", "tracking.plots=run"]
    cfg = compose(*words)
    cell = cell_of(cfg, resolve_config(cfg), words)
    assert cell.name == "kl T=4 alpha=0.5 student=cnn optimizer.lr=0.1"


def test_loss_name_does_not_depend_on_the_order(compose: Compose) -> None:
    names = {
        resolve_config(compose(f"loss={terms}")).loss_name for terms in ("[kl,mse]", "[mse,kl]")
    }
    assert names == {"kl+mse"}
