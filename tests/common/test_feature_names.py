import pytest

from kdsweep.common.feature_names import FeatureName, in_train_mode, parse_feature


@pytest.mark.parametrize("place", ["before_relu", "input", "class_maps"])
def test_a_name_has_a_place_and_a_mode(place):
    name = f"layer1.0:{place}"
    assert parse_feature(name) == FeatureName("layer1.0", place, train=False)
    assert parse_feature(in_train_mode(name)) == FeatureName("layer1.0", place, train=True)
    assert parse_feature("pool:train") == FeatureName("pool", None, train=True)


@pytest.mark.parametrize("name", ["a:output", "a:train:input", "a:input:class_maps", "a:"])
def test_other_parts_are_refused(name):
    with pytest.raises(ValueError, match=f"feature '{name}' must be a module path, then one of"):
        parse_feature(name)
