"""`kdsweep rerun RUN`: a run trained again, and compared with what was recorded of it.

Public: `rerun.rerun`; `original.read_original` and `original.spec_of` build the spec of a recorded
run, `conditions` compares software and machine, `outcome` weights and metrics.
"""
