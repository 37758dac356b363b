"""Grids: Hydra's launcher and callbacks, the directory of a sweep, its end, its cost estimate.

Public: `launcher.LockstepLauncher`, `callbacks.SweepSummaryCallback`, `single_job.train_one` (under
a stock launcher), `finalize.publish`, `mlflow_sync.sync_folder`, `attach.words_of`.

- from Hydra: `grid_sweeper`, `recipe_grids`, `cluster_launchers`, `hydra_jobs`, `hydra_job`,
  `job_configs`; under a stock launcher `stock_jobs` and `single_job`
- a batch of jobs: `batch`, with `dry_run`, `resuming` and `open_context`
- what is refused: `idle_keys`, `idle_temperature`, `subdirs`, `other_numerics`
- the folder: `directory`, `record` (sweep.json); its end: `finalize`, `deployment`
- commands: `check`, `estimate`, `rerun`, `qat`
"""
