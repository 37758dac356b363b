import torch

from kdsweep.data.digits import Digits


def test_digits_are_scaled_to_bytes():
    from sklearn.datasets import load_digits

    raw = Digits().load()
    expected = torch.from_numpy(load_digits().images)
    assert raw.train.images.dtype == torch.uint8
    assert raw.train.images.shape == (1797, 1, 8, 8)
    assert (raw.train.images.min(), raw.train.images.max()) == (0, 255)
    assert ((raw.train.images[:, 0].double() * 16 / 255 - expected).abs() < 0.05).all()


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    raw, expected = Digits().load(), load_digits()
    grey = (torch.from_numpy(expected.images) * (255 / 16)).round().to(torch.uint8)
    assert torch.equal(raw.train.images[:, 0], grey)
    assert torch.equal(raw.train.labels, torch.from_numpy(expected.target).long())
    assert raw.class_names == tuple(map(str, expected.target_names))


def test_digits_have_ten_classes_and_no_test_set():
    raw = Digits().load()
    assert raw.class_names == tuple("0123456789")
    assert raw.train.labels.dtype == torch.int64
    assert raw.train.labels.bincount().min() > 170
    assert raw.test is None
