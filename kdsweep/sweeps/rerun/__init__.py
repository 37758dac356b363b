"""`kdsweep rerun RUN`: a run trained again, and compared with what was recorded of it."""
