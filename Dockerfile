# One image for web, workers, beat and commands; docker-compose.yml says which runs what.
FROM python:3.12-slim AS packages
COPY requirements.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.12-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COINOS_DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8000
RUN useradd --uid 1000 --create-home coinos && install -d -o coinos -g coinos -m 0700 /data
COPY --from=packages /venv /venv
WORKDIR /coinos
# Exactly what .dockerignore lets through.
COPY . .
USER coinos
EXPOSE 8000
CMD ["python", "-m", "coinos.web_server"]
