"""The figures of a report, a file each: `section(evidence, grid)`, None if it does not apply."""
