# syntax=docker/dockerfile:1
# A worker for NVIDIA GPUs. From the repository's root:
#   docker build -f docker/worker.Dockerfile -t ip2p-batch-worker .
#
# The base is plain Python, not nvidia/cuda: torch's wheels bring CUDA, cuDNN and the rest along as
# packages, so those of the base would lie there twice, some gigabytes of them. Only the driver has
# to come from outside; the NVIDIA container toolkit brings it in. Python and Debian are those that
# the test suite ran on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# What we stand on changes seldom and weighs gigabytes: a layer of its own.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt -r /requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . && pip check

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/venv /opt/venv
COPY docker/healthcheck.py /opt/healthcheck.py
# Sticky and open to all, as /tmp is: a shared folder has its owner, and the container has to run
# as that user (--user, or IP2P_UID in compose.yaml), who is not known here.
RUN install -d -m 1777 /data /cache
# XDG_STATE_HOME: the user may have no home. `utility` is for nvidia-smi, which counts the GPUs.
ENV PATH=/opt/venv/bin:$PATH \
    HF_HOME=/cache/huggingface \
    HOME=/tmp \
    IP2P_JOBS_DIR=/data/jobs \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/data/state
VOLUME ["/cache"]
WORKDIR /data
USER 1000:1000
# Exec form: the launcher itself is the process that gets the signal. It lets each worker finish its
# chunk or give it back; `docker stop --time` (stop_grace_period) has to leave it the time.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/healthcheck.py"]
ENTRYPOINT ["ip2p-batch"]
CMD ["worker", "--devices", "auto"]
