# syntax=docker/dockerfile:1
# The command line, for hosts that submit and manage jobs, and Flower.
#   docker build -f docker/cli.Dockerfile --target cli    -t ip2p-batch .
#   docker build -f docker/cli.Dockerfile --target flower -t ip2p-batch-flower .
#
# `edit --detach`, `plan`, `status`, `resume --detach` and `cancel` never load torch. The image still
# contains its CPU build, a tenth of the size of the CUDA build: so `pip check` passes, `demo` runs,
# and the image also serves as a CPU worker.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > /requirements.txt
# Only torch comes from torch's own index: the Linux wheel on PyPI is the CUDA build.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-deps --index-url "${TORCH_INDEX}" torch \
    && pip install -c constraints.txt -r /requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . && pip check

FROM python:${PYTHON}-slim-bookworm AS cli
COPY --from=build /opt/venv /opt/venv
COPY docker/healthcheck.py /opt/healthcheck.py
# Same reason as in worker.Dockerfile.
RUN install -d -m 1777 /data /cache
ENV PATH=/opt/venv/bin:$PATH \
    HF_HOME=/cache/huggingface \
    HOME=/tmp \
    IP2P_JOBS_DIR=/data/jobs \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/data/state
VOLUME ["/cache"]
WORKDIR /data
USER 1000:1000
STOPSIGNAL SIGTERM
ENTRYPOINT ["ip2p-batch"]
CMD ["--help"]

# Not mher/flower: it does not know our key prefix and would show no tasks. Started with our app,
# Flower reads the whole broker configuration.
FROM cli AS flower
USER 0:0
COPY constraints.txt /opt/constraints.txt
RUN pip install --no-cache-dir -c /opt/constraints.txt flower
USER 1000:1000
EXPOSE 5555
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5555/healthcheck', timeout=4)"]
ENTRYPOINT ["celery", "-A", "workers.app"]
CMD ["flower", "--port=5555"]
