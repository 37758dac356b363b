"""A report as a page, as text and as a table for LaTeX.

Public: `html.page`, `markdown.markdown`, `latex.tex`.
"""
