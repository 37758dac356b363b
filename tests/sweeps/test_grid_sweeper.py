"""Hydra's own grids, with what its sweeper gets wrong put right."""

from hydra.core.override_parser.overrides_parser import OverridesParser

from kdsweep.sweeps.grid_sweeper import GridSweeper, jobs_of


def test_a_deletion_stays_one_whatever_the_value_of_its_key() -> None:
    words = ["~optimizer.lr", "T=1,2", "~a=null", "~b=3"]
    grid = OverridesParser.create().parse_overrides(words)
    jobs = [["~optimizer.lr", f"T={T}", "~a=null", "~b=3"] for T in (1, 2)]
    assert jobs_of(grid) == jobs
    assert GridSweeper(max_batch_size=1).split_arguments(grid, 1) == [[job] for job in jobs]
