"""The runs of a report, from folders or MLflow, of one sweep or several.

Public: `collection.RunCollection` and `collection.from_folder`; `mlflow.from_mlflow` and
`mlflow.from_query`; `lookup.find`, which reads what a user names; `merge.merge`; `images`.
"""
