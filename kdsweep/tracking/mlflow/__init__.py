"""The MLflow store of runs: opened and checked before training, written to in the background.

`store.MLflowStore` is one experiment; `upload_queue.UploadQueue` and `pending.UploadRetrier` write
to it without stopping a training; `run_sync.sync` and `trial_sync.sync_trial` make it agree with
the folder of a run or of a trial. Nothing here sets MLflow's global state.
"""
