"""The connection table, in the original's layout."""

import pytest
from multinic_lab.cluster.checks import Connection, connection_table, rate
from multinic_lab.cluster.views import route_lines

GOOD = Connection("node-1", "node-2", ("192.168.1.1", "192.168.65.1"), (True, True), (1.05e9, 934e6))
CUT = Connection("node-1", "node-10", ("192.168.2.1", "192.168.66.1"), (True, False), (None, 934e6))


def test_table_has_the_originals_layout():
    """A heading between rules, one row per direction with connected over total, addresses and rates."""
    assert connection_table("multi-nic-sample", [GOOD, CUT]).splitlines() == [
        "###########################################",
        "## Connection Check: multi-nic-sample",
        "###########################################",
        "FROM    TO       CONNECTED/TOTAL IPs             BANDWIDTHs",
        "node-1  node-2   2/2 [192.168.1.1 192.168.65.1]  [ 1.05Gbits/sec 934Mbits/sec]",
        "node-1  node-10  0/2 [192.168.2.1 192.168.66.1]  [ 934Mbits/sec]",
        "###########################################",
    ]


def test_an_unreached_target_does_not_read_as_connected():
    """The original counted an address that its log never mentioned as connected; here it is not."""
    never = Connection("a", "b", ("192.168.1.1",), (False,), (None,))
    assert not never.complete
    assert "0/1 [192.168.1.1]" in connection_table("n", [never])
    assert connection_table("n", [never]).splitlines()[4].endswith("[]")


@pytest.mark.parametrize(
    ("connection", "complete"),
    [(GOOD, True), (CUT, False), (Connection("a", "b", (), (), ()), False)],
)
def test_complete_means_every_nic_both_ways_of_measuring(connection, complete):
    """Ping and transfer on every address; a target without addresses is not connected."""
    assert connection.complete is complete


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (1.05e9, "1.05Gbits/sec"),
        (12.3e9, "12.3Gbits/sec"),
        (934.4e6, "934Mbits/sec"),
        (5e3, "5Kbits/sec"),
        (0, "0bits/sec"),
    ],
)
def test_rates_read_as_in_the_original(bits, text):
    """Three digits and the original's unit names."""
    assert rate(bits) == text


def test_routes_read_as_ip_prints_them():
    """Rules first, then routes."""
    found = {
        "rules": [{"priority": 32765, "src": "192.168.0.0/16", "table": 1000}],
        "routes": [{"dst": "192.168.1.0/24", "gateway": "10.0.1.2", "ifname": "eth1", "table": 1000}],
    }
    assert route_lines(found) == [
        "32765: from 192.168.0.0/16 lookup 1000",
        "192.168.1.0/24 via 10.0.1.2 dev eth1 table 1000",
    ]
