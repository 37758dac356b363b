"""The training loop of a cohort, and all that takes part in it.

Public: `trainer.fit` and `profiling.profile_cohort`; their students (`student`, `mutual`) and
teachers (`teacher`, `online_teacher`, `teacher_check`, `teacher_guard`);
`schedule`, `partition`.
"""
