"""Command lines of other repositories as overrides for train.py.

Public: `repositories.translate`.
"""
