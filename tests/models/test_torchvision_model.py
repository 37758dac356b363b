"""Networks of torchvision: names, heads, channels, sizes and weights. No test downloads any."""

import subprocess
import sys
import urllib.error

import pytest
import torch

from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.input_normalization import EXPECTED, IMAGENET
from kdsweep.models.components.trained_view import ATTRIBUTE, View
from kdsweep.models.torchvision_model import Torchvision


@pytest.mark.slow
def test_torchvision_is_not_imported_with_the_module():
    code = "import sys, kdsweep.models.torchvision_model; print('torchvision' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "False"


def test_features_keep_the_module_paths_of_torchvision():
    """And values from before in-place changes: bn2 is followed by ``out += identity``."""
    model = Torchvision("resnet18", in_shape=(3, 32, 32), num_classes=10).eval()
    names = ["layer3.1.conv2", "layer3.1.bn2", "avgpool"]
    output = FeatureExtractor(model, names)(torch.rand(2, 3, 32, 32))
    assert output.logits.shape == (2, 10)
    assert output.features["layer3.1.conv2"].shape == (2, 256, 2, 2)
    expected = model.get_submodule("layer3.1.bn2")(output.features["layer3.1.conv2"])
    assert torch.equal(output.features["layer3.1.bn2"], expected)
    assert not hasattr(model, EXPECTED)  # without weights the data set's normalisation is used


def test_unknown_name_lists_near_ones():
    with pytest.raises(
        ValueError, match=r"model.name must be one of .*near to it: .*resnet34.*got 'resnet35'"
    ):
        Torchvision("resnet35", in_shape=(3, 32, 32), num_classes=10)


def test_a_detector_is_no_classifier():
    with pytest.raises(ValueError, match=r"model\.name must be one of torchvision's"):
        Torchvision("fasterrcnn_resnet50_fpn", in_shape=(3, 32, 32), num_classes=10)


@pytest.mark.ci
def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(ValueError, match="alexnet cannot take images of 8 x 8: "):
        Torchvision("alexnet", in_shape=(3, 8, 8), num_classes=10)


@pytest.mark.usefixtures("meta_device")
def test_channels_come_from_in_shape():
    model = Torchvision("resnet18", in_shape=(1, 32, 32), num_classes=10)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.ci
def test_building_is_seeded_and_keeps_the_training_mode():
    def built():
        torch.manual_seed(1)
        model = Torchvision("resnet18", in_shape=(3, 32, 32), num_classes=10)
        return model.training, model.fc.weight, torch.rand(1)

    (training, weight, draw), (_, again, second_draw) = built(), built()
    assert training
    assert torch.equal(weight, again)
    assert torch.equal(draw, second_draw)


def test_unknown_weights_list_the_known_ones():
    with pytest.raises(ValueError, match=r"model.weights of resnet18 .*IMAGENET1K_V1.*, got best"):
        Torchvision("resnet18", in_shape=(3, 32, 32), num_classes=10, weights="best")


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(ValueError, match="the weights DEFAULT of resnet18 could not be downloaded"):
        Torchvision("resnet18", in_shape=(3, 32, 32), num_classes=10, weights="DEFAULT")


def test_weights_for_other_channels_are_refused():
    with pytest.raises(ValueError, match="weights of resnet18 need images of 3 channels, got 1"):
        Torchvision("resnet18", in_shape=(1, 32, 32), num_classes=10, weights="DEFAULT")


@pytest.fixture
def offline_weights(monkeypatch):
    """Replaces torchvision's download by random weights of a network of 1000 classes."""

    def make(name):
        import torchvision

        torch.manual_seed(5)
        source = torchvision.models.get_model(name, weights=None)
        monkeypatch.setattr(
            "torchvision.models._api.load_state_dict_from_url", lambda *a, **k: source.state_dict()
        )
        return source

    return make


@pytest.mark.ci
def test_weights_are_loaded_and_the_head_of_other_classes_replaced(offline_weights):
    source = offline_weights("resnet18")
    model = Torchvision("resnet18", in_shape=(3, 32, 32), num_classes=10, weights="DEFAULT")
    assert torch.equal(model.conv1.weight, source.conv1.weight)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert getattr(model, EXPECTED) == IMAGENET  # the normalisation of their images


@pytest.mark.ci
def test_the_pretrained_head_is_kept_for_its_own_classes(offline_weights):
    source = offline_weights("resnet18")
    model = Torchvision(
        "resnet18", in_shape=(3, 32, 32), num_classes=1000, weights="DEFAULT", normalize="dataset"
    )
    assert torch.equal(model.fc.weight, source.fc.weight)
    assert not hasattr(model, EXPECTED)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("resnet18", View((224, 224), "bilinear", 0.875)),
        ("mobilenet_v3_small", View((224, 224), "bilinear", 0.875)),
        pytest.param(  # its weights differ in it
            "resnet50", View((224, 224), "bilinear", None), marks=pytest.mark.slow
        ),
    ],
)
def test_weights_of_a_network_have_the_view_that_all_of_them_have(name, view):
    model = Torchvision(name, in_shape=(3, 32, 32), num_classes=10, normalize="weights")
    assert getattr(model, ATTRIBUTE) == view
    assert not hasattr(Torchvision(name, in_shape=(3, 32, 32), num_classes=10), ATTRIBUTE)


@pytest.mark.ci
def test_weights_have_their_view(offline_weights):
    offline_weights("resnet50")
    model = Torchvision("resnet50", in_shape=(3, 32, 32), num_classes=10, weights="DEFAULT")
    assert getattr(model, ATTRIBUTE).crop_pct == 224 / 232


def test_a_convolution_as_head_is_replaced_too(offline_weights):
    offline_weights("squeezenet1_1")
    model = Torchvision("squeezenet1_1", in_shape=(3, 32, 32), num_classes=10, weights="DEFAULT")
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("vgg11_bn", 32),
        ("densenet121", 32),
        ("mobilenet_v3_small", 32),
        ("efficientnet_b0", 32),
        ("shufflenet_v2_x0_5", 32),
        ("squeezenet1_0", 32),
        ("regnet_y_400mf", 32),
        ("convnext_tiny", 32),
        ("vit_b_32", 64),
        ("swin_t", 64),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("maxvit_t", 224),
    ],
)
def test_every_family_of_torchvision_takes_a_training_step(name, side):
    model = Torchvision(name, in_shape=(3, side, side), num_classes=10)
    logits = model(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 10)
    logits.sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11_bn", "vit_b_32", "googlenet", "swin_t", "convnext_tiny"])
def test_grey_images_fit_every_family(name):
    model = Torchvision(name, in_shape=(1, 64, 64), num_classes=10)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 10)
