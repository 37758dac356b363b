"""The sections of a report, one a module, with its figures, tables and sentences.

Each has a `TITLE` and a function `section`, by which `report.report` calls it; `section.Section` is
what that returns, `style` how figures look. `networks` and `panels` prepare what several use.
"""
