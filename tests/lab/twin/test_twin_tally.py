"""What a twin's server counts."""

import json
from collections import Counter

import pytest
from multinic_lab.apiserver import Request
from multinic_lab.twin.tally import DAEMON, OPERATOR, Tally, scaled

from multinic_core.model import REPORT_ANNOTATION

LEASES = "/apis/coordination.k8s.io/v1/namespaces/system/leases"
HOSTS = "/apis/multinic.fms.io/v1/hostinterfaces"


def request(method: str, path: str, agent: str, body: object = None) -> Request:
    return Request(method, path, {}, {"user-agent": f"{agent}/1"}, json.dumps(body).encode())


def renewal(node: str, report: str) -> Request:
    body = {"metadata": {"annotations": {REPORT_ANNOTATION: report}}}
    return request("PATCH", f"{LEASES}/multi-nicd-{node}", DAEMON, body)


def test_a_lease_with_nothing_new_is_a_renewal() -> None:
    """The first report and each other one are writes; the same one again comes with time alone."""
    tally = Tally()
    for report in ("a", "a", "a", "b"):
        tally.note(renewal("node-1", report), 0.0)
    tally.note(renewal("node-2", "a"), 0.0)
    assert tally.counts.writes_by(DAEMON) == 3
    assert tally.counts.renewals == 2


@pytest.mark.parametrize(("method", "path"), [("POST", LEASES), ("PATCH", f"{LEASES}/5aaf67fd.fms.io")])
def test_an_election_is_a_matter_of_time(method: str, path: str) -> None:
    """The operator's own Lease is never counted among what it writes."""
    tally = Tally()
    tally.note(request(method, path, OPERATOR, {}), 0.0)
    assert (tally.counts.writes_by(OPERATOR), tally.counts.renewals, tally.last_of_operator) == (0, 1, 0.0)


def test_reads_and_writes_are_counted_by_who_asked() -> None:
    """Also those that are refused; a new start begins at nothing."""
    tally = Tally()
    tally.note(request("GET", HOSTS, DAEMON), 0.0)
    tally.note(request("PATCH", f"{HOSTS}/node-1/status", OPERATOR, {}), 0.0)
    before = tally.start()
    assert before.reads == {DAEMON: 1}
    assert before.writes == {(OPERATOR, "hostinterfaces/status"): 1}
    assert tally.counts.writes == Counter()
    assert tally.last_of_operator > 0


def test_one_watch_each_is_computed_from_what_a_process_was_sent() -> None:
    """HostInterfaces go to all nodes, and each to its own node once more; a pool goes to one node."""
    sent = Counter({(DAEMON, "hostinterfaces"): 2000, (DAEMON, "ippools"): 60, (OPERATOR, "hostinterfaces"): 999})
    assert scaled(sent, processes=2, nodes=10) == 1000 * 10 + 1000 + 30
