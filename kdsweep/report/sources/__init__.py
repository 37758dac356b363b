"""Collections of runs, from folders and from MLflow: `collection`, `mlflow`, `lookup`, `merge`."""
