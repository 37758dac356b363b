"""What a sweep is made of before anything is trained: specs of runs and of all they depend on.

Public: `build_specs`, `RunSpec`, `TeacherSpec`, `preflight`, `build_units`, `fingerprint`.
"""
