from kdsweep.models.mlp import MLP


def test_the_default_student_has_64_units_in_each_of_two_layers():
    model = MLP((1, 8, 8), num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == 65 * 64 + 65 * 64 + 65 * 10
