"""A server that speaks S3 (moto's), and what tests put into it and take out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.session import get_session
from moto.server import ThreadedMotoServer

BUCKET = "models"


class Cloud(NamedTuple):
    """A running server with one bucket."""

    url: str
    client: Any

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Uploads the files of a folder, returns their address."""
        for path in folder.iterdir():
            self.put(f"{prefix}/{path.name}", path.read_bytes())
        return f"s3://{BUCKET}/{prefix}/"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def uploads(self, key: str = "") -> list[str]:
        """The unfinished uploads."""
        found = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", [])
        return [upload["UploadId"] for upload in found]


def environment(url: str) -> dict[str, str]:
    """What a user of this server has in the environment."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextmanager
def cloud_server() -> Iterator[Cloud]:
    """The server, with the environment of this process made for it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        url = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in environment(url).items():
            patch.setenv(name, value)
        client = get_session().create_client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield Cloud(url, client)
    server.stop()
