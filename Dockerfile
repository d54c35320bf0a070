# The operator's image. Every step calls `python3`, wherever the base has it, so any image with Python 3.11 or newer serves as base.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Dependencies, locked by hash; this layer is made again only when the lock changes.
FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements.txt requirements-build.txt /build/
RUN python3 -m venv /build/tools \
 && /build/tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/requirements-build.txt \
 && python3 -m venv --without-pip /opt/spillway \
 && /build/tools/bin/pip --python /opt/spillway/bin/python install --no-cache-dir --require-hashes -r /build/requirements.txt

# The project itself, as the files it adds to that environment.
FROM dependencies AS project
COPY pyproject.toml README.md LICENSE /build/source/
COPY operator /build/source/operator
RUN /build/tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /build/wheels /build/source \
 && /build/tools/bin/pip --python /opt/spillway/bin/python install --no-cache-dir --no-deps --no-index \
    --root /build/added --prefix /opt/spillway /build/wheels/*.whl

FROM ${PYTHON_IMAGE}
COPY --from=dependencies /opt/spillway /opt/spillway
COPY --from=project /build/added/opt/spillway /opt/spillway
ENV PATH=/opt/spillway/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, not a name: `runAsNonRoot` cannot check a name.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["spillway"]
CMD ["operator"]
