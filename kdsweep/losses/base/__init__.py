"""Base classes and shared functions of the losses.

A new loss derives from ``term.Term``, ``logit_term.LogitTerm`` or ``SoftTargetTerm``,
``feature_term.FeatureTerm`` or ``LearnedFeatureTerm``. ``objective.Objective``,
``multi_teacher.MultiTeacherLoss`` and ``weight_schedule.WeightSchedule`` combine them;
``compute_loss.compute_loss`` evaluates a term for given tensors. Shared by several
are ``soft_targets``, ``target_class``, ``logit_standardization`` and ``hard_label`` for logits,
``shapes``, ``regressors``, ``batch_norms`` and ``stage_heads`` for features.
"""
