"""Messages about features that a network does not have: they name the option, and what it holds."""

import pytest

from kdsweep.builders.features import feature_errors
from kdsweep.models.cnn import CNN


@pytest.mark.parametrize("typed", ["stage9", "stage9:before_relu", "stage9:before_relu:train"])
def test_a_feature_that_a_term_reads_in_train_mode_is_named_as_typed(typed: str) -> None:
    (message,) = feature_errors(
        CNN((1, 8, 8), 10, width=4),
        [f"{typed.removesuffix(':train')}:train"],
        "teacher",
        {"ofd": {"pairs": [["stage1", typed]]}},
    )
    assert message.startswith("loss.ofd.pairs must name modules of teacher.model (")
    assert f"), got {typed}" in message
