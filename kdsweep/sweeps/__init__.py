"""Grids: Hydra's launcher and callbacks, the directory of a sweep, its end, its cost estimate.

Public: `launcher.LockstepLauncher`, `callbacks.SweepSummaryCallback`, `single_job.train_one` (under
a stock launcher), `finalize.publish`, `mlflow_sync.sync_folder`.
"""
