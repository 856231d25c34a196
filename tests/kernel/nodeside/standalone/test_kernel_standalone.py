"""Every verb of a standalone network on real links, each call a process of its own."""

import shutil
import signal
import sys
from typing import Any

import pytest
from multinic_lab.provision import tools

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]

FIRST = ["192.168.0.1/18", "192.168.64.1/18"]
SECOND = ["192.168.0.2/18", "192.168.64.2/18"]


def given(answer: dict[str, Any]) -> list[str]:
    assert "code" not in answer, answer
    return [ip["address"] for ip in answer["ips"]]


def test_containers_reach_each_other_over_each_nic_and_leave_nothing(host):
    """ADD gives a link per NIC with an address of its block; DEL takes links and addresses back."""
    answer = host.call("ADD", "c1")
    assert given(answer) == host.addresses("c1") == FIRST
    assert [each["name"] for each in answer["interfaces"]] == ["net1-0", "net1-1"]
    assert given(host.call("ADD", "c2")) == SECOND
    assert [host.pings("c1", address.partition("/")[0]) for address in SECOND] == [True, True]
    for container in ("c1", "c2"):
        assert host.call("DEL", container) is None
        assert host.addresses(container) == []
    assert host.rows() == []


@pytest.mark.link_kind("ipvlan")
def test_ipvlan_as_well(host):
    """Whatever main plugin is installed."""
    plugin = {"type": "ipvlan", "args": {"mode": "l2"}}
    assert given(host.call("ADD", "c1", plugin=plugin)) == host.addresses("c1") == FIRST
    assert {link["linkinfo"]["info_kind"] for link in host.ground.ip(host.netns("c1"), "link", "show", "up")[1:]} <= {
        "ipvlan"
    }
    assert host.call("DEL", "c1", plugin=plugin) is None
    assert (host.addresses("c1"), host.rows()) == ([], [])


def test_the_same_call_again_gets_the_same_answer_and_another_is_refused(host):
    """Repeating is safe; a changed configuration needs a DEL first."""
    answer = host.call("ADD", "c1")
    assert host.call("ADD", "c1") == answer
    assert host.call("ADD", "c1", plugin={"type": "macvlan", "mode": "vepa"})["code"] == 105
    assert host.rows() == [("c1", "ready", 2)]


def test_del_succeeds_in_every_awkward_form(host):
    """Never attached, twice, without a namespace, and with a configuration that could no longer be attached."""
    assert host.call("DEL", "c1") is None
    host.call("ADD", "c1")
    host.ground.remove(host.netns("c1"))
    assert host.call("DEL", "c1", plugin={"type": "gone"}, subnet="nonsense", masters=7) is None
    assert host.call("DEL", "c1", netns="") is None
    assert host.rows() == []


def test_check_compares_with_the_kernel(host):
    """It passes as long as links are as they were made, and names what is missing."""
    answer = host.call("ADD", "c1")
    assert host.call("CHECK", "c1", prevResult=answer) is None
    host.ground.ip(host.netns("c1"), "link", "del", "net1-1")
    failed = host.call("CHECK", "c1", prevResult=answer)
    assert failed["code"] == 101
    assert "net1-1" in failed["msg"]


def test_gc_frees_exactly_what_is_not_listed(host):
    """The others keep links and addresses."""
    host.call("ADD", "c1")
    host.call("ADD", "c2")
    keep = [{"containerID": "c2", "ifname": "net1"}]
    assert host.call("GC", **{"cni.dev/valid-attachments": keep}) is None
    assert host.rows() == [("c2", "ready", 2)]
    assert (host.addresses("c1"), host.addresses("c2")) == ([], SECOND)


def test_status_says_whether_an_add_could_succeed(host):
    """Nothing where it could; code 50 naming the NIC where one is missing, and ADD says the same."""
    assert host.call("STATUS") is None
    for answer in (host.call("STATUS", masters=["eth1", "eth9"]), host.call("ADD", "c1", masters=["eth1", "eth9"])):
        assert answer["code"] in (50, 7)
        assert "masters[1]: found 'eth9', expected a NIC of this machine: ['eth1', 'eth2']" in answer["msg"]
    assert host.rows() == []


def test_an_audit_compares_the_journal_with_the_kernel(host):
    """The same command as for a daemon's node: nothing differs, until somebody changes a link."""
    host.call("ADD", "c1")
    assert host.audit() == (0, [])
    host.ground.ip(host.netns("c1"), "link", "del", "net1-1")
    assert host.audit() == (1, ["links missing"])


@pytest.mark.parametrize("point", ["add.journaled", "apply.created", "add.applied"])
def test_what_a_killed_add_leaves_is_undone_by_the_next_call(host, point):
    """kill -9 between any two steps: the retry succeeds, with the addresses free again and no second set of links."""
    process = host.start("ADD", "c1", crash_at=point)
    assert (host.end(process)[0], process.returncode) == (None, -signal.SIGKILL)
    assert host.rows() == [("c1", "pending", 2)]
    assert given(host.call("ADD", "c2")) == SECOND
    assert host.addresses("c1") == []
    assert len(given(host.call("ADD", "c1"))) == len(host.addresses("c1")) == 2
    assert {row[1] for row in host.rows()} == {"ready"}


def test_a_killed_del_is_finished_by_the_next(host):
    """The row says deleting, so nobody takes it for an attachment."""
    host.call("ADD", "c1")
    process = host.start("DEL", "c1", crash_at="del.removed")
    assert (host.end(process)[0], process.returncode) == (None, -signal.SIGKILL)
    assert host.rows() == [("c1", "deleting", 2)]
    assert host.call("DEL", "c1") is None
    assert (host.rows(), host.addresses("c1")) == ([], [])


def test_calls_at_the_same_time_get_addresses_of_their_own(host):
    """A runtime that starts several containers at once: all succeed, none shares an address."""
    names = [f"c{number}" for number in range(4)]
    for name in names:
        host.netns(name)
    answers = [host.end(process) for process in [host.start("ADD", name) for name in names]]
    found = [given(answer) for answer, _ in answers]
    assert sorted(address for each in found for address in each) == sorted(
        f"192.168.{block}.{number}/18" for block in (0, 64) for number in range(1, 5)
    )
    assert [host.addresses(name) for name in names] == found
    ends = [host.end(process) for process in [host.start("DEL", name) for name in names]]
    assert ends == [(None, "")] * 4
    assert host.rows() == []


def test_other_networks_over_the_same_addresses_give_none_twice(host):
    """Two configurations of one journal may overlap, what they give may not."""
    assert given(host.call("ADD", "c1")) == FIRST
    wide = {"type": "multi-nic-ipam", "interfaceBlock": 2}
    assert given(host.call("ADD", "c2", name="wide", ipam=wide)) == SECOND
    host.call("DEL", "c1")
    assert given(host.call("ADD", "c3")) == ["192.168.0.3/18", "192.168.64.3/18"]


def test_what_containers_have_is_held_when_the_journal_is_lost(host):
    """Its addresses are found in the kernel before any is given, and DEL gives them back."""
    assert given(host.call("ADD", "c1")) == FIRST
    shutil.rmtree(host.data)
    answer, err = host.end(host.start("ADD", "c2"))
    assert given(answer) == SECOND
    assert "taken over" in err
    assert host.call("DEL", "c1") is None
    assert host.addresses("c1") == []
    assert host.rows() == [("c2", "ready", 2)]


def test_what_was_taken_over_goes_with_its_namespace(host):
    """Nobody may ever name it in a DEL."""
    host.call("ADD", "c1")
    shutil.rmtree(host.data)
    host.end(host.start("ADD", "c2"))
    assert len(host.rows()) == 2
    host.ground.remove(host.netns("c1"))
    assert host.call("DEL", "c9", netns="") is None
    assert host.rows() == [("c2", "ready", 2)]


def test_a_damaged_journal_is_kept_aside_and_said(host):
    """No address of a running container is given again, and the file is there to be looked at."""
    host.call("ADD", "c1")
    (host.data / "journal.db").write_bytes(b"not a database, whatever else")
    for suffix in ("-wal", "-shm"):
        (host.data / f"journal.db{suffix}").unlink(missing_ok=True)
    answer, err = host.end(host.start("ADD", "c2"))
    assert given(answer) == SECOND
    assert "journal refused" in err
    assert len(list(host.data.glob("journal.db.refused-damaged-*"))) == 1


def test_a_plugin_that_cannot_be_loaded_is_named_and_left_out(host):
    """Somebody else's broken distribution stops nobody."""
    site = host.folder / "site"
    info = site / "their_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[multinic]\nshiny = their_plugin\n")
    (site / "their_plugin.py").write_text("raise RuntimeError('no licence found')\n")
    python = host.folder / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        f"import runpy, sys\nsys.path.insert(0, {str(site)!r})\nsys.argv[1:] = sys.argv[-1:]\n"
        "runpy.run_module('multinic_cni.standalone', run_name='__main__')\n"
    )
    python.chmod(0o755)
    host.install(python)
    answer, err = host.end(host.start("ADD", "c1"))
    assert given(answer) == FIRST
    assert "their-plugin" in err
    assert "no licence found" in err


def test_as_the_ipam_of_another_main_plugin(host):
    """The reference macvlan makes the link, ``multi-nic-ipam`` gives the address, both out of one configuration."""
    fields = {"type": "macvlan", "master": "eth2", "masters": None, "plugin": None, "mode": "bridge"}
    macvlan = tools.find("macvlan")
    found = {"executable": macvlan, "cniVersion": "1.0.0", "ipam": {"type": "multi-nic-ipam"}, **fields}
    answer = host.call("ADD", "c1", **found)
    assert given(answer) == host.addresses("c1") == ["192.168.0.1/16"]
    assert host.call("DEL", "c1", **found) is None
    assert host.rows() == []


def test_pools_may_be_parts_of_the_nics_own_networks(host):
    """Containers then talk with whatever is on that network, and this machine's address is never given."""
    pools = [{"interfaceName": "eth2", "podCIDR": "10.0.2.0/29", "vlanCIDR": "10.0.2.0/24"}]
    fields = {"subnet": None, "masters": None, "pools": pools, "ipam": {"type": "multi-nic-ipam"}}
    host.ground.ip(host.ground.fabric, "address", "add", "10.0.2.200/24", "dev", "far-eth2")
    assert given(host.call("ADD", "c1", **fields)) == ["10.0.2.2/24"]
    assert host.pings("c1", "10.0.2.200")


def test_a_folder_that_cannot_be_written_is_named(host):
    """Nothing is done without a journal."""
    (host.folder / "file").write_text("")
    answer = host.call("ADD", "c1", dataDir=str(host.folder / "file" / "x"))
    assert answer["code"] == 5
    assert answer["msg"].startswith(f"dataDir: found '{host.folder}/file/x'")
    assert host.addresses("c1") == []
