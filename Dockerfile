# permgrad in a container. The folder /data is where it reads and writes:
#
#   docker build -t permgrad .                             # processors only
#   docker build -t permgrad:gpu --build-arg DEVICE=gpu .  # NVIDIA GPUs: torch with its CUDA libraries, several GB
#
#   docker run --rm -v "$PWD:/data" permgrad run patients.csv --target outcome
#   docker run --rm -v "$PWD:/data" --gpus all permgrad:gpu run patients.csv --target outcome
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# cpu or gpu
ARG DEVICE=cpu
# Extras to install, such as [boost,tune] or [all]
ARG EXTRAS=[boost]

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# LightGBM needs OpenMP's library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build
COPY constraints.txt .
RUN case "$DEVICE" in \
      cpu) pip install -c constraints.txt torch --index-url https://download.pytorch.org/whl/cpu ;; \
      gpu) pip install -c constraints.txt torch ;; \
      *) echo "DEVICE must be cpu or gpu, got $DEVICE" >&2; exit 1 ;; \
    esac
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt ".${EXTRAS}"

RUN useradd --create-home permgrad && mkdir /data && chown permgrad /data
USER permgrad
WORKDIR /data
ENTRYPOINT ["permgrad"]
CMD ["--help"]
