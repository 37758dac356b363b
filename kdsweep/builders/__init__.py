"""Live objects from a run's config: the only package that instantiates what a config names.

Public: `data` (data sets, stream, splits), `models`, `losses.build_objective`,
`students.build_student`, `device.resolve_device`, `digests.content_digests`, `sources.DataSources`.
"""
