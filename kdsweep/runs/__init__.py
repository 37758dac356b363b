"""What a sweep consists of before anything is trained: specs of runs and of all they depend on.

Public: `build_specs.build_specs`, `spec.RunSpec`, `spec.TeacherSpec`, `preflight.preflight`,
`units.build_unit`, `fingerprint.fingerprint`.
"""
