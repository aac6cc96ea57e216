"""What a gameday writes is what daemons take, on every board and link: a run takes minutes."""

import pytest

from bellrelay.cli.gameday_files import RELAYS, SHAPES, write_files
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.keys.kme_config import load_kme_config
from bellrelay.relay.config import load_config


@pytest.mark.parametrize("shape", SHAPES)
def test_every_daemon_takes_its_file(tmp_path, shape):
    files = write_files(tmp_path, SHAPES[shape], kmes=True)
    for relay in RELAYS:
        assert load_config(files.yaml_of(relay)).relay_id == relay
    for role in ROLES:
        config = load_endpoint_config(files.yaml_of(role))
        assert config.block.slots == SHAPES[shape].block_slots
        assert load_kme_config(files.yaml_of(f"kme-{role}")).kme_id == f"kme-{role}"
