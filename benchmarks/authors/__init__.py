"""Our losses next to their authors' code, for benchmarks/compare_with_authors.py.

``checkouts`` loads a file of a checkout, ``comparison`` has what a row compares and how far apart
two losses are, ``terms`` builds our terms and copies their weights, ``report`` writes the table.
The rows are in ``on_logits``, ``on_embeddings``, ``on_maps``, ``on_levels``,
``on_classifiers`` and ``on_own_heads``.
"""
