"""Records of runs: the run folder first, MLflow (`tracking.mlflow`) second, TensorBoard if enabled.

`recorder.Recorder` writes both; `run_dir`, `metadata`, `result` and `predictions` hold the formats
of the files in a run folder, `results_table` those of a sweep; `console.Progress` is the display,
`printing` prints paths in full, `disk` recognises a full disk.
"""
