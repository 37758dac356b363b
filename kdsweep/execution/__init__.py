"""Training: from specs to results on disk and in MLflow.

`worklist.pending` lists the work units that are missing (teachers, stages, cohorts of runs),
`cohort.train_cohort` trains the runs of one in lockstep, `run_writer.RunWriter` records each.
Public: these, `worklist.WorkUnit`, `context.TrainingContext`, `target.RunTarget`,
`target.SweepLocation`, `target.finished_result`, `inputs.upload_inputs`, `provenance.provenance`.

`teacher_store` and `teacher_logits` load teachers, `trained_part` is for runs that train a head
alone, `distributed` for cohorts on several devices; `evaluation` measures, `cohort_watcher` shows.
"""
