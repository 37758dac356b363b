"""The sections of a report, one a module, each with its figures and a function `section`."""
