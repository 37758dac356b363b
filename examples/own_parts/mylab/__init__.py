"""Parts of a sweep that kdsweep does not have."""
