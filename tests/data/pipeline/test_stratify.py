import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdsweep.data.pipeline.stratify import cut, positions, quotas, shuffled_pools

counts = st.lists(st.integers(0, 50), min_size=1, max_size=8)


@given(counts, st.data())
def test_quotas_sum_to_the_total_and_round_the_exact_share(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    shares = quotas(counts, total)
    assert sum(shares) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(share - count * total / max(sum(counts), 1)) < 1
        assert 0 <= share <= count


@pytest.mark.ci
@given(counts, st.data(), st.integers(0, 5))
def test_cut_parts_are_disjoint_and_complete(counts, data, seed):
    total = data.draw(st.integers(0, sum(counts)))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    front, rest = cut(shuffled_pools(labels, len(counts), seed), total)
    assert len(positions(front)) == total
    both = torch.cat((positions(front), positions(rest)))
    assert both.sort().values.tolist() == list(range(sum(counts)))


def test_pools_hold_each_class_in_an_order_of_the_seed():
    labels = torch.arange(300) % 3
    first, again, other = (shuffled_pools(labels, 3, seed) for seed in (0, 0, 1))
    for label in range(3):
        assert set(labels[first[label]].tolist()) == {label}
        assert first[label].tolist() == again[label].tolist()
        assert first[label].tolist() != other[label].tolist()
        assert sorted(first[label].tolist()) == sorted(other[label].tolist())
