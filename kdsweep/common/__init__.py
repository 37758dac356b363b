"""Foundations of all other packages: types, seeds, files, text, processes and passwords.

It imports no other package of kdsweep.

- calibration, cells, feature_names, teacher_views: terms that several packages share
- classifier, transformer: layers that several packages share
- conf: CONF, where the configs are
- disk_cache: DiskCache; array_files: its entries
- files: write_json_atomic, write_text_atomic, write_bytes_atomic, atomic_write, drop_drafts,
  read_json, without_nan, UPDATE_LOCK
- garbage, machine: Python's garbage collector, the CPU
- nested: leaves
- notices: note_once, warn_once
- pacing: LinePacer, with_lines, lines_while
- passwords: redact_text, redact_password, redact_nested, redact_argument, register_address, reveal,
  lacks_password, how_to_give
- processes: new_lease, is_alive, is_running, is_local, is_this_process, host_has_restarted
- repeating: repeating
- rng: derive, reseed
- suggestions: the option that a mistyped word most likely means
- text: format_number, counted, escape_unprintable, error_reason, first_line, shorten
- types: Batch, MixedLabels, Output
- validation: checks of numbers in options
"""
