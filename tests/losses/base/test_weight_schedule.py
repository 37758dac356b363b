import pytest

from kdsweep.losses.base.weight_schedule import WeightSchedule, weight_schedule


def factors(epochs, **options):
    schedule = WeightSchedule(**options)
    return [schedule.factor(epoch) for epoch in range(epochs)]


def test_without_options_the_weight_is_whole_throughout():
    assert factors(5) == [1, 1, 1, 1, 1]


def test_the_warm_up_of_mdistiller_begins_with_one_part_in_the_first_epoch():
    """min(epoch / 20, 1), its epochs counting from 1."""
    assert factors(30, warmup=20) == [min(epoch / 20, 1) for epoch in range(1, 31)]


def test_the_warm_up_of_reviewkd_s_authors_begins_with_nothing():
    """min(1, epoch / kd_warm_up), epochs from 0: CIFAR-100/train.py of dvlab-research/ReviewKD."""
    values = factors(30, warmup=20, from_zero=True)
    assert values == [min(1, epoch / 20.0) for epoch in range(30)]
    assert values[0] == 0


def test_until_is_the_last_epoch_of_the_term():
    assert factors(5, until=3) == [1, 1, 1, 0, 0]


def test_linear_decay_begins_whole_and_has_one_part_in_its_last_epoch():
    assert factors(6, until=4, decay="linear") == [1, 0.75, 0.5, 0.25, 0, 0]


def test_cosine_decay_is_half_a_wave():
    assert factors(5, until=4, decay="cosine") == pytest.approx([1, 0.85355339, 0.5, 0.14644661, 0])


def test_the_decay_waits_for_a_warm_up_from_zero():
    values = factors(7, warmup=2, from_zero=True, until=6, decay="linear")
    assert values == [0, 0.5, 1, 0.75, 0.5, 0.25, 0]


def test_the_decay_waits_for_the_warm_up():
    values = factors(7, warmup=2, until=6, decay="linear")
    assert values == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]


def test_warm_up_and_sudden_end():
    assert factors(5, warmup=2, until=4) == [0.5, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, ""),
        ({"warmup": 20}, "warmup=20"),
        ({"warmup": 20, "from_zero": False}, "warmup=20"),
        ({"warmup": 20, "from_zero": True}, "warmup=20 from_zero=true"),
        ({"decay": "linear", "until": 100, "warmup": 5}, "warmup=5 until=100 decay=linear"),
    ],
)
def test_its_text(options, text):
    assert str(WeightSchedule(**options)) == text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"warmup": 0}, "warmup must be an integer >= 1, got 0"),
        ({"warmup": 2.5}, "warmup must be an integer >= 1, got 2.5"),
        ({"warmup": True}, "warmup must be an integer >= 1, got true"),
        ({"until": -1}, "until must be an integer >= 1, got -1"),
        ({"until": "late"}, "until must be an integer >= 1, got late"),
        ({"warmup": 5, "until": 5}, "until must be after the warmup of 5 epochs, got 5"),
        ({"from_zero": True}, "from_zero must be false without warmup, got true"),
        ({"warmup": 5, "from_zero": 1}, "from_zero must be true or false, got 1"),
        ({"until": 5, "decay": "slow"}, "decay must be null or linear or cosine, got slow"),
        ({"decay": "linear"}, "until must be given with decay linear"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        WeightSchedule(**options)


@pytest.mark.parametrize("options", [20, "linear", [20], {"warm_up": 20}, {"warmup": 2, "end": 3}])
def test_what_describes_no_schedule_is_refused(options):
    with pytest.raises(
        ValueError, match="must be null or hold some of warmup, from_zero, until, decay, got"
    ):
        weight_schedule(options)


def test_null_and_an_empty_description_are_constant():
    assert [weight_schedule(options).factor(7) for options in (None, {})] == [1, 1]
