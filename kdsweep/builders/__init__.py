"""Live objects from a run's config: the only package that instantiates what a config names.

Public: `instantiate_node`, `resolve_device`, `build_dataset`, `build_stream`, `build_splits`,
`build_objective`, `build_student`, `build_unit`, `build_teacher`, `content_digests`.
"""
