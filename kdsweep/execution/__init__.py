"""Training: from specs to results on disk and in MLflow.

`scheduler.train` lists the pending work units (teachers, stages, cohorts of runs) and executes each
in this process. Public: `train`, `pending`, `WorkUnit`, `TrainingContext`, `RunTarget`,
`SweepLocation`, `finished_result`.
"""
