import pytest
from conformance import CONTENTS, Conformance

from deepgguf.files.network.hub import HubFiles
from deepgguf.files.network.patience import Patience
from web_server import COMMIT, MODEL, Web

QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=1, stall=1)


class TestHubFiles(Conformance):
    @pytest.fixture
    def made(self, monkeypatch, tmp_path):
        with Web(CONTENTS) as self.web:
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", self.web.host())
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
            with HubFiles(MODEL, COMMIT, list(CONTENTS), QUICK) as files:
                yield files

    def files(self, folder, contents):
        raise NotImplementedError  # `made` makes them

    def change(self, files, name, content):
        self.web.put(name, content)
