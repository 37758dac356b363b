"""Searches with Optuna that share a study between processes and resume after any interruption.

A config becomes a `SearchPlan`, which a `SearchController` trains block by block.

Public: `sweeper.SearchSweeper` (`hydra/sweeper=kdsweep`), `plan.make_search_plan`,
`controller.run_search`.
"""
