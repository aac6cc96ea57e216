"""Lets these tests import what they share; servers that several of them need."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def postgresql(missing):
    """A running server; `new_database()` gives a URL that nobody else uses."""
    from real_servers import POSTGRESQL_LINE, PostgresServer, postgresql_programs

    programs = postgresql_programs()
    if programs is None:
        missing(f"PostgreSQL's server is not installed: {POSTGRESQL_LINE}")
    server = PostgresServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def softhsm(missing, tmp_path_factory):
    """A token of SoftHSM2, and the environment in which its module finds it."""
    from real_servers import SOFTHSM_LINE, SoftHsm, softhsm_module

    module = softhsm_module()
    if module is None:
        missing(f"SoftHSM2 is not installed: {SOFTHSM_LINE}")
    token = SoftHsm(module, tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in token.environment.items():
            patch.setenv(name, value)
        yield token
