# deepgguf in a slim image: a wheel is built in one stage, and installed without a compiler in the other.
#
#   docker build -t deepgguf .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" deepgguf convert DeepSeek-V3 --type q4_k_m
FROM python:3.13 AS build
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheels /source

FROM python:3.13-slim
RUN --mount=from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --root-user-action=ignore "$(echo /wheels/*.whl)[cloud,hub]"
WORKDIR /work
ENTRYPOINT ["deepgguf"]
CMD ["--help"]
