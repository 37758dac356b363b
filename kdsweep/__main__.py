"""`python -m kdsweep`: the console script."""

from kdsweep.cli import app

if __name__ == "__main__":
    app(prog_name="kdsweep")
