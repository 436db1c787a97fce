"""The fault tests use the integration tests' fixtures."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import pytest  # noqa: E402

from support import networks  # noqa: E402
from support.server import Server  # noqa: E402


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return networks.write_known(tmp_path_factory.mktemp("models"))


@pytest.fixture
def server(models, tmp_path):
    with Server(tmp_path / "data", models) as server:
        yield server


@pytest.fixture(scope="session")
def shared(models, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("shared") / "data", models) as server:
        yield server
