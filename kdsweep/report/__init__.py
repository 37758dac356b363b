"""Reports on sweeps: the runs of a sweep are collected, tested, and written as pages and tables.

Public: `report.report`, `files.write_report`, `files.show`; `sources.lookup.find` and
`sources.collection.from_folder` collect the runs; `compare` and `leaderboard` are the commands of
these names; `mlflow_publish.publish` logs a report to MLflow.
"""
