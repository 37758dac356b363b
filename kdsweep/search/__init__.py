"""The search: which trials get how many seeds, and which cell is the answer."""
