import torch

from kdsweep.losses.base.target_class import other_logits, target_logits


def test_the_label_is_parted_from_the_others_which_keep_their_order():
    logits = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]])
    labels = torch.tensor([0, 2, 3])
    assert target_logits(logits, labels).tolist() == [[10], [22], [33]]
    assert other_logits(logits, labels).tolist() == [[11, 12, 13], [20, 21, 23], [30, 31, 32]]
