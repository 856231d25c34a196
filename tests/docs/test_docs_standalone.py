"""What docs/standalone.md says of the example and of its figures is so."""

import json
import re
from pathlib import Path

from multinic_daemon.standalone.config import read_document, read_network
from multinic_daemon.standalone.fields import DATA_DIR, PoolFields, StandaloneFields
from multinic_daemon.standalone.pools import listed_pools

from multinic_core import load_plugins

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docs" / "standalone.md").read_text()
EXAMPLE = json.loads((CHECKOUT / "examples" / "podman.conflist").read_text())


def network(**fields: object):
    """The example's network as podman hands it to the executable."""
    document = EXAMPLE["plugins"][0] | {"name": EXAMPLE["name"], "cniVersion": EXAMPLE["cniVersion"]} | fields
    return read_network("multi-nic", read_document(json.dumps(document).encode()), load_plugins())


def test_the_example_has_the_blocks_that_are_explained():
    """Those of machine 0 and of machine 1, each in the text."""
    for host in (0, 1):
        for pool in network(hostIndex=host).pools:
            assert str(pool.network) in TEXT
    assert [str(pool.nic) for pool in network().pools] == ["eth1", "eth2"]
    assert all(f"`{nic}`" in TEXT for nic in ("eth1", "eth2"))


def test_every_key_of_our_own_is_explained():
    """Each has a row in the table, with its default folder."""
    keys = {field.alias for field in StandaloneFields.model_fields.values()}
    assert keys == {"hostIndex", "pools", "dataDir"}
    for key in keys:
        assert f"| `{key}` |" in TEXT
    for field in PoolFields.model_fields.values():
        assert f"`{field.alias}`" in TEXT
    assert f"`{DATA_DIR}`" in TEXT


def test_the_pool_in_the_text_is_one():
    """It can be copied as it stands."""
    (block,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (pool,) = listed_pools([PoolFields.model_validate(json.loads(block))], [])
    assert (pool.nic, str(pool.network), pool.block.prefixlen) == ("eth1", "10.0.1.128/25", 24)
