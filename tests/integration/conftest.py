"""Fixtures of the integration tests. OCELLI names the program; each server has a folder of its own and must end
with exit status 0 when told to stop."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from support import networks  # noqa: E402
from support.server import Server  # noqa: E402


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Three known models; nobody changes this folder."""
    return networks.write_known(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def shared(models, tmp_path_factory):
    """One server for all tests that do not mind each other's images."""
    with Server(tmp_path_factory.mktemp("shared") / "data", models) as server:
        yield server


@pytest.fixture
def server(models, tmp_path):
    """A server of the test's own, empty at first."""
    with Server(tmp_path / "data", models) as server:
        yield server


@pytest.fixture
def own_models(tmp_path):
    """Known models in a folder that the test may change."""
    return networks.write_known(tmp_path / "models")
