"""Train a run, a grid or a search: `python train.py --help` shows how."""

from kdsweep.cli import main

if __name__ == "__main__":
    main()
