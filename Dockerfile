# A CPU image that serves a model: docker build -t cascade-rcnn . && docker run -p 8000:8000 cascade-rcnn starter
# Your own: docker run -p 8000:8000 -v "$PWD/runs:/models:ro" cascade-rcnn /models/mine/best.safetensors
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 detector
WORKDIR /app

# torch first: the largest layer, which changes least. For its much smaller CPU builds:
# --build-arg TORCH="--index-url <PyTorch's index of CPU wheels> torch torchvision"
ARG TORCH="torch torchvision"
# hadolint ignore=DL3013,SC2086
RUN pip install --no-cache-dir ${TORCH}
# Then the other dependencies, which change with pyproject.toml; the code comes last.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    e = p['optional-dependencies']; print(*p['dependencies'], *e['serve'], *e['export'], sep='\n')" > requirements.txt \
    && pip install --no-cache-dir -r requirements.txt
COPY README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps . && rm -rf src

USER 1000
ENV CASCADE_RCNN_CACHE=/home/detector/cache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os; from urllib.request import Request, urlopen; \
    urlopen(Request('http://127.0.0.1:8000/health', headers={'X-API-Key': os.environ.get('LIT_SERVER_API_KEY', '')}))"]
ENTRYPOINT ["cascade-rcnn", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["starter"]
