import pytest
from conformance import CONTENTS, SHARD, Conformance

from deepgguf.files.network.http import HttpFiles
from deepgguf.files.network.patience import Patience
from web_server import Web

QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=1, stall=1)
INDEX = b'{"weight_map": {"a": "%s", "b": "../x.safetensors", "c": 1}}' % SHARD.encode()


class TestHttpFiles(Conformance):
    @pytest.fixture
    def made(self):
        with Web(CONTENTS) as self.web, HttpFiles(self.web.plain, patience=QUICK) as files:
            yield files

    def files(self, folder, contents):
        raise NotImplementedError  # `made` makes them

    def change(self, files, name, content):
        self.web.put(name, content)

    def test_names_are_sorted(self, made):
        """Those that are well known, and those that the index names."""
        assert list(made.names()) == ["README.md", "config.json"]
        self.web.put("model.safetensors.index.json", INDEX)
        with HttpFiles(self.web.plain) as files:
            assert list(files.names()) == ["README.md", "config.json", SHARD, "model.safetensors.index.json"]
