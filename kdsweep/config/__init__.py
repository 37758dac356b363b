"""The configuration: its schema, its resolution into a typed `RunConfig`, its validation.

Nothing here imports torch. Public: `schema`, `run_config.RunConfig`, `resolve.resolve_config`,
`recipes` (configs of teachers, stages and peers), `validate.validation_errors`, `overrides`,
`refusals` (what is wrong with words that Hydra cannot compose).
"""
