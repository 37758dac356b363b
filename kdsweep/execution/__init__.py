"""Training: from specs to results on disk and in MLflow.

`worklist.pending` lists the work units that are missing (teachers, stages, cohorts of runs),
`cohort.train_cohort` trains the runs of one in lockstep, `RunWriter` records each. Public:
`train_cohort`, `pending`, `WorkUnit`, `TrainingContext`, `RunTarget`, `SweepLocation`,
`finished_result`.
"""
