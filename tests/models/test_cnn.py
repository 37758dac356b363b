from kdsweep.models.cnn import CNN


def test_width_decides_the_parameters():
    def parameters(width):
        w = width  # weights and BatchNorm of three stages, then the linear layer
        stages = (9 + 2) * w + (9 * w + 2) * 2 * w + (9 * 2 * w + 2) * 4 * w
        return stages + (4 * w + 1) * 10

    for width in (8, 32):
        model = CNN((1, 8, 8), num_classes=10, width=width)
        assert sum(p.numel() for p in model.parameters()) == parameters(width)
