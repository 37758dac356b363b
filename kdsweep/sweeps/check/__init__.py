"""`kdsweep check`: whether the parts of a config keep the contracts that training relies on.

Public: `parts.check_parts`, `table.show`.
"""
