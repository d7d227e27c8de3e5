# Two stages: the first builds a virtual environment, the second is what runs, without a compiler or pip's cache.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt config.toml README.md LICENSE ./
COPY docs/waypost.1 docs/
COPY relay relay
COPY web web
RUN python -m venv --without-pip /opt/waypost \
 && pip --python /opt/waypost/bin/python install --no-cache-dir --constraint constraints.txt '.[alerts,oidc,otel]'

FROM python:3.13-slim
RUN groupadd --system --gid 10001 waypost \
 && useradd --system --uid 10001 --gid 10001 --no-log-init --home-dir /data waypost \
 && mkdir --mode 700 /data && chown waypost: /data
COPY --from=build /opt/waypost /opt/waypost
ENV PATH=/opt/waypost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WAYPOST_RELAY__DATA_DIR=/data \
    WAYPOST_LISTEN__ADDRESS=0.0.0.0:2525 \
    WAYPOST_TRACKING__LISTEN=0.0.0.0:8080 \
    WAYPOST_CONSOLE__LISTEN=0.0.0.0:8081 \
    WAYPOST_METRICS__LISTEN=127.0.0.1:9464
# Mount a config.toml at /data/config.toml or /etc/waypost/config.toml, or say it all with WAYPOST_TABLE__KEY.
# The variables above win over the file: a container that is to listen elsewhere is given others.
# WAYPOST_METRICS__LISTEN=0.0.0.0:9464 shows /metrics, without a key, to whoever reaches the container.
WORKDIR /data
VOLUME /data
USER waypost
EXPOSE 2525 8080 8081
STOPSIGNAL SIGTERM
# Of every role: the metrics' listener answers with `serve --only smtp` too.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
CMD ["waypost", "serve"]
