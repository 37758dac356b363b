# kdsweep with the versions of requirements.lock, run as a user without rights. docs/team.md explains the options.
#
#   docker build -t kdsweep .
#   docker build --target check .     # trains a sweep on digits in it, and prints its table
#   docker run --rm -v "$PWD:/work" --user "$(id -u)" kdsweep train -m loss=kl T=1,4,16
ARG BASE=python:3.12-slim

FROM ${BASE} AS image
# cuda: torch as the index of pip has it; cpu: torch +cpu, which an index in pip.conf must have.
ARG COMPUTE=cuda
ENV PATH=/opt/kdsweep/bin:$PATH
WORKDIR /src

# Before the code, so that a change of the code installs kdsweep alone. pip.conf is a secret because an index may need
# a password, and build arguments stay in the image's history.
COPY pyproject.toml requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    set -eu; \
    case "$COMPUTE" in \
      cuda) ;; \
      cpu) sed -Ei 's/^(torch|torchvision)==([0-9.]+)/\1==\2+cpu/' requirements.lock ;; \
      *) echo "COMPUTE must be cpu or cuda, got $COMPUTE" >&2; exit 1 ;; \
    esac; \
    python3 -m venv /opt/kdsweep; \
    python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
      extras = project["optional-dependencies"]; \
      print(*project["dependencies"], *extras["team"], *extras["system"], sep="\n")' > requirements.txt; \
    install="pip install --no-cache-dir --quiet --constraint requirements.lock"; \
    $install --upgrade pip; \
    $install --requirement requirements.txt hatchling

COPY README.md LICENSE train.py ./
COPY conf conf
COPY kdsweep kdsweep
RUN pip install --no-cache-dir --quiet --no-deps --no-build-isolation . \
    && useradd --create-home --uid 1000 kdsweep \
    && install --directory --owner=kdsweep /work /artifacts

# With --user there may be neither a name nor a folder of the user.
ENV USER=kdsweep LOGNAME=kdsweep MPLCONFIGDIR=/tmp/matplotlib GIT_PYTHON_REFRESH=quiet \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER kdsweep
WORKDIR /work

FROM image AS check
RUN kdsweep train -m dataset=digits loss=kl T=1,4,16 trainer.epochs=3 teacher.trainer.epochs=3 tracking.report=false

FROM image
ENTRYPOINT ["kdsweep"]
CMD ["--help"]
