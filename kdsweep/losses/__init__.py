"""Distillation losses, one file per method; the yamls in conf/loss name them by ``_target_``.

A term returns an unweighted scalar; ``base.objective.Objective`` weights and adds terms.
docs/losses.md lists all of them, with their formulas.
"""
