"""A report as a page, as text and as a table for LaTeX: `html`, `markdown`, `latex`."""
