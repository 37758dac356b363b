"""The training loop of a cohort, and all that takes part in it.

Students, teachers, evaluation, checkpoints, learning-rate schedules, and the profile of a cohort.

- checkpoint: save, load_latest, finish, latest_epoch, load_weights, fit_weights, sha256, has_digest
- evaluation: Split, predict, eval_mode, accuracy, calibration_error, confusion
- gradients: gradient_ratios
- latency: latency_ms
- memory: disable_malloc_trim, is_out_of_memory
- mutual: Peers
- online_teacher: OnlineTeacher
- partition: CohortKey, partition
- profiling: profile_cohort, CohortProfile, StepTiming, StorageSize, storage_size
- schedule: Schedule, Constant, MultiStep, Cosine, OneCycle
- student: Student
- teacher: Teacher, Ensemble, mean_output
- teacher_check: measured_accuracy, is_near_chance, chance_warning
- tensor_files: tensors_as_bytes
- trainer: fit, train_epoch, measure, student_logits, with_teacher, torch_state
"""
