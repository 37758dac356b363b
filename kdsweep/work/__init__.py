"""Which work unit is trained when, and by which process.

`inline.train` trains the runs of a sweep in this process, `controller.train_by` in those that an
`executor.Executor` starts; `open_training.OpenTraining` does either for a search. The processes
are described in docs/work_units.md.

- the order: `graph`, which units are ready; `endings`, what the end of one means for the others
- units as files: `unit_file`, `unit_specs` (from specs and back), `planning` and `other_units` (new
  ones and those of earlier controllers), `outcomes`, `attempt` (which process has one)
- the controller: `processes`, with `shipping` (MLflow), `pruning`, `display` and `pace`
- executors: `local` with `places` and `worker_process`; `slurm` with `slurm_options`,
  `slurm_queue` and `batch_script`; `ray_tasks` with `ray_options`; `demand` (cores, GPUs) and
  `own_package` (environment) for all
- the process that trains: `worker.Worker`, `serving` (one unit after the other), `stopping`,
  `time_limit`
- `status`: how far all of them are, from the files alone
"""
