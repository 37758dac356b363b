"""Seeds derived from names."""

from kdsweep.common.rng import derive


def test_a_seed_is_the_same_in_every_process() -> None:
    assert derive("stream", 0, 1) == 6634241984456190456


def test_any_part_alters_the_seed() -> None:
    seeds = {derive("stream", 0, 1), derive("stream", 1, 0), derive("step", 0, 1), derive("stream")}
    assert len(seeds) == 4


def test_a_number_is_not_its_text() -> None:
    assert derive(1) != derive("1")


def test_parts_do_not_run_into_each_other() -> None:
    assert derive("ab", "c") != derive("a", "bc")


def test_a_seed_fits_torch() -> None:
    assert all(0 <= derive("x", n) < 2**63 for n in range(1000))
