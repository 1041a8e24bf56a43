# syntax=docker/dockerfile:1
# A worker for NVIDIA GPUs. From the repository's root:
#   docker build -f docker/worker.Dockerfile -t ip2p-batch-worker .
#
# The base is plain Python, not nvidia/cuda: torch's wheels depend on CUDA, cuDNN and the rest as
# packages, so an nvidia/cuda base would contain several gigabytes twice. Only the driver comes from
# the host, through the NVIDIA container toolkit. Python and Debian have the versions that the test
# suite ran on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Dependencies rarely change and take gigabytes: they get a separate layer.
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
# Sticky and writable for all, like /tmp: the container has to run as the owner of the shared folder
# (--user, or IP2P_UID in compose.yaml), and that user is not known at build time.
RUN install -d -m 1777 /data /cache
# XDG_STATE_HOME: the user may have no home. `utility` adds nvidia-smi, which counts the GPUs.
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
# Exec form: the launcher itself receives the signal. It lets each worker finish its chunk or return
# it to the queue; `docker stop --time` (stop_grace_period) must allow enough time for that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/healthcheck.py"]
ENTRYPOINT ["ip2p-batch"]
CMD ["worker", "--devices", "auto"]
