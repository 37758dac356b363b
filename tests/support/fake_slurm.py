"""Slurm's programs as scripts that keep what they are given."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = {
    # A submission adds a line to the queue for each index of its array.
    "sbatch": """\
if [ -e refusal ]; then cat refusal >&2; exit 1; fi
n=$(ls scripts | wc -l); n=$((n + 1)); cat > scripts/$n
name=$(sed -n 's/^#SBATCH --job-name=//p' scripts/$n)
array=$(sed -n "s/^#SBATCH --array='\\{0,1\\}\\([0-9,]*\\).*/\\1/p" scripts/$n)
jobs=$(wc -w <<< "${array//,/ }")
if [ -e room ] && [ $((jobs + $(wc -l < queue))) -gt $(cat room) ]; then
  rm scripts/$n
  echo sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying >&2
  exec sleep 60
fi
if [ -z "$array" ]; then echo "$n|$name|N/A|PENDING|" >> queue; fi
for index in ${array//,/ }; do echo "${n}_$index|$name|$index|PENDING|" >> queue; done
echo $n""",
    "squeue": "if [ -e silence ]; then echo squeue: error: no contact >&2; exit 1; fi; cat queue",
    "scancel": """\
for id in "$@"; do
  echo $id >> cancelled
  sed -i "s/^$id|\\(.*\\)|.*|/$id|\\1|CANCELLED|/" queue
done""",
}


@dataclass(frozen=True)
class FakeSlurm:
    """What the programs were given, and what they print."""

    folder: Path

    @property
    def scripts(self) -> list[str]:
        """The batch scripts, in the order of their submission."""
        paths = sorted((self.folder / "scripts").iterdir(), key=lambda path: int(path.name))
        return [path.read_text() for path in paths]

    @property
    def cancelled(self) -> list[str]:
        path = self.folder / "cancelled"
        return path.read_text().split() if path.exists() else []

    @property
    def queue(self) -> list[str]:
        return (self.folder / "queue").read_text().splitlines()

    def put(self, id: str, name: str, state: str, node: str = "") -> None:
        """Add a job to the queue, which has its index in its id."""
        index = id.partition("_")[2] or "N/A"
        with (self.folder / "queue").open("a") as file:
            file.write(f"{id}|{name}|{index}|{state}|{node}\n")

    def set_state(self, id: str, state: str | None, node: str = "") -> None:
        """Change the state of a job; None: the queue has forgotten it."""
        lines = []
        for line in self.queue:
            known, name, index, _, _ = line.split("|")
            if known != id:
                lines.append(line)
            elif state is not None:
                lines.append(f"{known}|{name}|{index}|{state}|{node}")
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def refuse(self, message: str | None) -> None:
        """Have sbatch fail with a message; None: it accepts jobs."""
        path = self.folder / "refusal"
        path.unlink(missing_ok=True) if message is None else path.write_text(message)

    def have_room(self, jobs: int) -> None:
        """Have sbatch wait, as the real one does, while the queue has more jobs of arrays."""
        (self.folder / "room").write_text(str(jobs))

    def fall_silent(self) -> None:
        (self.folder / "silence").touch()

    def respond(self) -> None:
        (self.folder / "silence").unlink()


def fake_slurm(folder: Path, patch: pytest.MonkeyPatch) -> FakeSlurm:
    """Put the scripts in front of all other programs."""
    programs = folder / "programs"
    programs.mkdir()
    (folder / "scripts").mkdir()
    (folder / "queue").touch()
    for name, body in PROGRAMS.items():
        path = programs / name
        path.write_text(f"#!/bin/bash\ncd {folder}\n{body}\n")
        path.chmod(0o755)
    patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return FakeSlurm(folder)
