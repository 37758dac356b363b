"""Networks of timm: names, weights, images. No weights are downloaded."""

import copy
import sys

import pytest
import torch

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.errors import UserError
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.input_normalization import EXPECTED, IMAGENET
from kdsweep.models.components.trained_view import ATTRIBUTE, View
from kdsweep.models.timm_model import Timm

SHAPE = (3, 32, 32)


def test_without_timm_the_error_names_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ValueError, match=r"timm cannot be imported .*: pip install 'kdsweep\[timm\]'"
    ):
        Timm("resnet18", in_shape=SHAPE, num_classes=10)


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


@pytest.mark.usefixtures("timm")
class TestWithTimm:
    def test_features_keep_the_module_paths_of_timm(self):
        model = Timm("resnet18", in_shape=SHAPE, num_classes=10).eval()
        output = FeatureExtractor(model, ["layer3.1.conv2", "global_pool"])(torch.rand(2, *SHAPE))
        assert output.logits.shape == (2, 10)
        assert output.features["layer3.1.conv2"].shape == (2, 256, 2, 2)
        assert output.features["global_pool"].shape == (2, 512)

    def test_a_config_may_make_it_though_it_may_not_call_timm_itself(self):
        node = {"_target_": "kdsweep.models.timm_model.Timm", "name": "test_resnet"}
        model = instantiate_node(node, "student.model", in_shape=SHAPE, num_classes=10)
        assert isinstance(copy.deepcopy(model), type(model).__mro__[1])
        with pytest.raises(UserError, match=r"_target_ must be the path of a class .*, got timm"):
            instantiate_node({"_target_": "timm.models.load_state_dict"}, "student.model")

    def test_channels_and_size_come_from_in_shape(self):
        model = Timm("test_vit", in_shape=(1, 64, 64), num_classes=10)
        assert model(torch.rand(2, 1, 64, 64)).shape == (2, 10)

    def test_in_distilled_training_the_logits_are_those_of_the_class_head(self):
        model = Timm("deit_tiny_distilled_patch16_224", in_shape=SHAPE, num_classes=10)
        images = torch.rand(2, *SHAPE)
        extractor = FeatureExtractor(copy.deepcopy(model).train(), ["head", "head_dist"])
        before = extractor(images)
        extractor.model.set_distilled_training()
        after = extractor(images)
        both = (after.features["head"] + after.features["head_dist"]) / 2
        assert torch.equal(before.logits, both)
        assert torch.equal(after.logits, after.features["head"])
        extractor.model.eval()
        assert torch.equal(extractor(images).logits, both)

    def test_building_is_seeded(self):
        def built():
            torch.manual_seed(1)
            model = Timm("test_resnet", in_shape=SHAPE, num_classes=10)
            return torch.nn.utils.parameters_to_vector(model.parameters()), torch.rand(1)

        (weights, draw), (again, second_draw) = built(), built()
        assert torch.equal(weights, again)
        assert torch.equal(draw, second_draw)

    @pytest.mark.parametrize("name", ["resnet19", "resnet18.nobody"])
    def test_unknown_names_and_tags_list_near_ones(self, name):
        with pytest.raises(
            ValueError, match=r"one of timm's .*near to it: .*resnet18.*, got 'resne"
        ):
            Timm(name, in_shape=SHAPE, num_classes=10)

    @pytest.mark.ci
    def test_images_too_small_for_the_network_are_refused(self):
        with pytest.raises(
            ValueError, match="swin_tiny_patch4_window7_224 cannot take images of 2"
        ):
            Timm("swin_tiny_patch4_window7_224", in_shape=(3, 2, 2), num_classes=10)

    def test_weights_for_other_channels_are_refused(self):
        with pytest.raises(
            ValueError, match="weights of resnet18 need images of 3 channels, got 1"
        ):
            Timm("resnet18", in_shape=(1, 32, 32), num_classes=10, pretrained=True)

    def test_a_network_that_has_no_weights_is_named(self, timm):
        name = next(n for n in timm.list_models("resnet*") if not timm.is_model_pretrained(n))
        with pytest.raises(ValueError, match=rf"pretrained must be false for {name}: timm has no "):
            Timm(name, in_shape=SHAPE, num_classes=10, pretrained=True)

    def test_weights_that_cannot_be_downloaded_are_named(self, monkeypatch):
        def no_network(*args, **kwargs):
            raise FileNotFoundError("no network\nand more")

        monkeypatch.setattr("timm.models._builder.load_pretrained", no_network)
        sentence = r"the weights of test_resnet could not be downloaded \(no network\): check the"
        with pytest.raises(ValueError, match=sentence):
            Timm("test_resnet", in_shape=SHAPE, num_classes=10, pretrained=True)

    @pytest.mark.parametrize(("name", "mean"), [("test_resnet", 0.5), ("resnet18", 0.485)])
    def test_pretrained_weights_expect_their_own_normalisation(self, monkeypatch, name, mean):
        monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *a, **k: None)
        model = Timm(name, in_shape=SHAPE, num_classes=10, pretrained=True)
        assert getattr(model, EXPECTED).mean[0] == mean

    def test_weights_of_a_name_have_a_view(self):
        assert not hasattr(Timm("test_resnet", in_shape=SHAPE, num_classes=10), ATTRIBUTE)
        model = Timm("tf_efficientnet_lite0", SHAPE, num_classes=10, normalize="weights")
        assert getattr(model, ATTRIBUTE) == View((224, 224), "bicubic", 0.875)

    def test_without_weights_the_data_set_decides(self):
        assert not hasattr(Timm("test_resnet", in_shape=SHAPE, num_classes=10), EXPECTED)
        model = Timm("test_resnet", in_shape=SHAPE, num_classes=10, normalize="imagenet")
        assert getattr(model, EXPECTED) == IMAGENET
