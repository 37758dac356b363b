import pytest
import torch

from kdsweep.common.transformer import Block, DropPath


def test_a_dropped_branch_is_zero_for_an_image_and_the_others_keep_the_mean() -> None:
    torch.manual_seed(0)
    kept = DropPath(0.25)(torch.ones(4000, 2, 3))
    assert kept.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_every_parameter_of_a_block_has_a_gradient(qkv_bias: bool) -> None:
    block = Block(8, heads=2, qkv_bias=qkv_bias)
    tokens = torch.randn(2, 5, 8)
    block(tokens).square().sum().backward()
    assert block(tokens).shape == tokens.shape
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())
    assert ("attn.qkv.bias" in dict(block.named_parameters())) is qkv_bias


def test_the_order_of_the_tokens_does_not_matter() -> None:
    block, tokens, order = Block(8, heads=2).eval(), torch.randn(2, 5, 8), [3, 0, 4, 1, 2]
    torch.testing.assert_close(block(tokens[:, order]), block(tokens)[:, order])
