# deepgguf in a slim image, from a wheel that is in dist/ (of `python -m build`, or of the project's releases).
#
#   docker build -t deepgguf .
#   docker run --rm -v "$PWD:/work" deepgguf convert DeepSeek-V3 --type q4_k_m
FROM python:3.13-slim
COPY dist/*.whl /tmp/
RUN pip install --no-cache-dir --root-user-action=ignore "$(ls /tmp/deepgguf-*abi3*.whl)[cloud,hub]" && rm /tmp/*.whl
# Files belong to whoever runs it: docker run --user "$(id -u):$(id -g)" …
WORKDIR /work
ENTRYPOINT ["deepgguf"]
CMD ["--help"]
