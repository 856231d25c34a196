"""A reboot, the order in which things start, and a journal that goes while the daemon runs: a real daemon copes."""

from typing import Any

import pytest

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.link_kind("veth", "macvlan"),
    pytest.mark.parametrize("crash_node", [{"type": "macvlan", "mode": "bridge"}], indirect=True, ids=["macvlan"]),
]

NOT_READY = 50


def test_after_a_reboot_nothing_of_before_is_held(crash_node: Any) -> None:
    """Rows of another boot go without a DEL, in the journal and in the mirror; their addresses are given again."""
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert "ips" in crash_node.call("ADD", "p1")
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper", "p1"})
    crash_node.kill()
    crash_node.reboot("p1")
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert crash_node.audit() == {"keeper"}
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper"})
    assert crash_node.call("DEL", "p1") is None
    assert "ips" in crash_node.call("ADD", "p1")
    assert crash_node.call("DEL", "p1") is None
    crash_node.kill()


def test_daemon_that_starts_before_the_api_knows_its_pods(crash_node: Any) -> None:
    """STATUS says that the API was never reached; CHECK and DEL are served from the journal; then everything is."""
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert "ips" in crash_node.call("ADD", "p1")
    crash_node.kill()
    crash_node.ip_on_node("link", "set", "lo", "down")
    try:
        crash_node.start()
        answer = crash_node.call("STATUS")
        assert answer["code"] == NOT_READY
        assert "Kubernetes API" in answer["msg"]
        assert crash_node.call("CHECK", "keeper", prevResult=crash_node.kept) is None
        assert crash_node.call("DEL", "p1") is None
        assert crash_node.audit() == {"keeper"}
    finally:
        crash_node.ip_on_node("link", "set", "lo", "up")
    crash_node.until(crash_node.serves)
    assert "ips" in crash_node.call("ADD", "p1")
    assert crash_node.call("DEL", "p1") is None
    crash_node.kill()


def test_journal_removed_under_a_running_daemon(crash_node: Any) -> None:
    """The daemon goes on with the file that it has open; the next one finds every pod in mirror and kernel."""
    crash_node.start()
    crash_node.until(crash_node.serves)
    first = crash_node.call("ADD", "p1")
    for file in crash_node.run_dir.glob("journal.db*"):
        file.unlink()
    second = crash_node.call("ADD", "p2")
    given = [{ip["address"] for ip in each["ips"]} for each in (crash_node.kept, first, second)]
    assert len(set.union(*given)) == sum(map(len, given))
    assert crash_node.call("CHECK", "p1", prevResult=first) is None
    crash_node.until(lambda: crash_node.mirrored_pods() == {"keeper", "p1", "p2"})
    crash_node.kill()
    crash_node.start()
    crash_node.until(crash_node.serves)
    assert crash_node.audit() == {"keeper", "p1", "p2"}
    third = crash_node.call("ADD", "p3")
    assert not {ip["address"] for ip in third["ips"]} & set.union(*given)
    for pod in ("p1", "p2", "p3"):
        assert crash_node.call("DEL", pod) is None
    assert crash_node.audit() == {"keeper"}
    crash_node.kill()
