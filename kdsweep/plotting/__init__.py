"""PNG files of runs and sweeps, drawn with matplotlib; the colours are used by the report as well.

`draw_curves`, `draw_confusion`, `draw_heatmap` and `draw_samples` each write one file. They make
plain figures (no pyplot), so that any thread may draw, and import matplotlib, which takes half a
second, only when called. `warn_on_failure` guards a drawing; `save_figure` writes any figure.
"""
