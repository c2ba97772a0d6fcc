# geocloud for an x86-64 CPU, or with CUDA:
#   docker build -t geocloud .
#   docker build -t geocloud:cuda --build-arg EXTRAS=batch,gpu .
# Files of the current folder are read and written as the user who calls:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" geocloud mask SCENE -o mask.tif      (CUDA: --gpus all)
FROM python:3.13-slim-bookworm AS build
ARG EXTRAS=batch
WORKDIR /src
RUN python -m venv /opt/geocloud
ENV PATH=/opt/geocloud/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY . .
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:3.13-slim-bookworm
# rasterio's wheels bring GDAL, but not libexpat, of which any version does.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/geocloud /opt/geocloud
# Any user may run it, also one whom the image does not know: hence HOME and USER.
ENV PATH=/opt/geocloud/bin:$PATH HOME=/tmp USER=geocloud PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["geocloud"]
CMD ["--help"]
