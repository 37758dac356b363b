"""Searches with Optuna that share a study between processes and resume after any interruption.

A config becomes a `SearchPlan`, which a `SearchController` trains block by block.

Public: `sweeper.SearchSweeper` (`hydra/sweeper=kdsweep`), `plan.make_search_plan`,
`controller.run_search`.

- the plan: `space` and `space_text`, `sampling`, `validation`, `timeout`, `study_name`, `estimate`
- the study: `storage`, `study`, `lease` (which process has which trial), `folder`,
  `optuna_internals`
- training: `blocks`, `trial_runner`, `racing`; `trial_runs` (the specs), `search_runs`, `run_group`
- results: `results`, `plots`, `mlflow_logging`
"""
