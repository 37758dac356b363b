import pytest
from commands import Compose

from kdsweep.config.interpolation import (
    alpha_weighted,
    interpolates,
    missing_keys,
    raw,
    unknown_key_errors,
)


@pytest.mark.parametrize(
    ("loss", "T", "alpha"), [("kl", True, True), ("mse", False, True), ("ce", False, False)]
)
def test_which_keys_the_terms_refer_to(compose: Compose, loss: str, T: bool, alpha: bool) -> None:
    cfg = compose(f"loss={loss}")
    assert (interpolates(cfg, "T"), interpolates(cfg, "alpha")) == (T, alpha)
    assert alpha_weighted(raw(cfg.loss)) == alpha


def test_the_terms_of_a_stage_count_too(compose: Compose) -> None:
    cfg = compose("loss=ce", "stages=hints", "+stages.hints.loss.hint.T=${T}")
    assert interpolates(cfg, "T")


def test_an_added_key_is_unknown_unless_a_value_refers_to_it(compose: Compose) -> None:
    assert unknown_key_errors(raw(compose("+rate=0.1", "optimizer.lr=${rate}"))) == []
    assert unknown_key_errors(raw(compose("+rate=0.1"))) == [
        "rate must be a key of the config, got +rate, which nothing reads"
    ]


def test_keys_without_a_value_are_missing(compose: Compose) -> None:
    assert missing_keys(raw(compose("optimizer.lr=???"))) == ["optimizer.lr"]
    assert missing_keys(raw(compose())) == []
