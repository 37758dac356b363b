from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def meta_device() -> Iterator[None]:
    """Tensors without data: shapes and numbers of parameters of large networks at no cost."""
    with torch.device("meta"):
        yield
