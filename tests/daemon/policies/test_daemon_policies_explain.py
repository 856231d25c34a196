"""``multinic explain pod``: why a pod has its NICs, from what the journal kept of that moment."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from multinic_core.cli import multinic
from multinic_core.selection import Figure, Selection


def ask(node: Any, *arguments: str, columns: int = 200) -> Result:
    run_dir = str(node.rig.folder / "run")
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(
        multinic, ["explain", "pod", "--run-dir", run_dir, *arguments]
    )


async def test_every_nic_is_explained_with_its_figures(node: Any) -> None:
    """NICs taken come first in the order of their links; figures are those of the decision, not of now."""
    node.add_network("cost", "costOpt", nics=2)
    node.change_nics("eth2", speed=25_000)
    await node.add("cost", "c1", target="7Gbps", nics=1)
    await node.add("cost", "c2", target="2Gbps")
    done = ask(node, "default/pod-c1", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["pod"] == "default/pod-c1"
    (attachment,) = document["attachments"]
    nics = attachment.pop("nics")
    assert attachment == {
        "network": "cost",
        "ifname": "net1",
        "state": "ready",
        "strategy": "costOpt",
        "asked": {"nics": 1, "target": "7Gbps"},
        "warning": "",
    }
    figures = {"promised_bit_per_s": 0, "load_bit_per_s": 0, "attachments": 0}
    assert nics == [
        {
            "nic": "eth1",
            "taken": True,
            "link": "net1-0",
            "reason": "10 Gbit/s of 10 Gbit/s free to promise, load 0 bit/s, 0 attachments, promised 7 Gbit/s",
            "promisedBitPerSecond": 7_000_000_000,
            "figures": {"speed_bit_per_s": 10_000_000_000, **figures},
        },
        {
            "nic": "eth2",
            "taken": False,
            "link": None,
            "reason": "25 Gbit/s of 25 Gbit/s free to promise, load 0 bit/s, 0 attachments; not needed",
            "promisedBitPerSecond": None,
            "figures": {"speed_bit_per_s": 25_000_000_000, **figures},
        },
        {
            "nic": "eth3",
            "taken": False,
            "link": None,
            "reason": "the operator has given its network 10.0.3.0/24 no block",
            "promisedBitPerSecond": None,
            "figures": {},
        },
    ]


async def test_people_get_a_table(node: Any) -> None:
    """With the strategy, what was asked for, and a warning below; a name alone is of namespace default."""
    node.add_network("cost", "costOpt", nics=1, target="15Gbps", args={"strict": "false"})
    await node.add("cost", "c1", masters=["eth1"])
    done = ask(node, "pod-c1")
    assert done.exit_code == 0
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "net1 on network cost (ready): strategy costOpt, asked for masters eth1, target 15Gbps"
    assert lines[1].split() == ["NIC", "TAKEN", "REASON", "PROMISED", "FIGURES"]
    assert [line.split()[:2] for line in lines[3:6]] == [["eth1", "net1-0"], ["eth2", "left"], ["eth3", "left"]]
    assert "10 Gbit/s" in lines[3]
    assert lines[6].startswith("warning: network 'cost': target '15Gbps' is 15 Gbit/s, found 10 Gbit/s")


async def test_each_attachment_of_a_pod_is_told(node: Any) -> None:
    """In their order, whatever the strategies; pods of other names and namespaces are not told of."""
    node.add_network("cost", "costOpt")
    await node.add("cost", "c1", nics=1)
    fields = node.call_fields("net-a", "c1", {})
    await node.rig.call("ADD", "c1", ifname="net2", **fields)
    await node.add("cost", "c2", nics=1)
    found = json.loads(ask(node, "default/pod-c1", "--json").stdout)["attachments"]
    assert [(each["network"], each["ifname"], each["strategy"]) for each in found] == [
        ("cost", "net1", "costOpt"),
        ("net-a", "net2", "none"),
    ]
    assert ask(node, "other/pod-c1").exit_code == 1


async def test_a_decision_nobody_wrote_down_is_said_to_be_so(node: Any) -> None:
    """As of daemons before; the NICs themselves are known from the plan."""
    node.add_network("cost", "costOpt")
    await node.add("cost", "c1", nics=1)
    with sqlite3.connect(node.rig.folder / "run" / "journal.db") as database:
        database.execute("DELETE FROM decision")
    database.close()
    (attachment,) = json.loads(ask(node, "pod-c1", "--json").stdout)["attachments"]
    assert attachment["strategy"] is None
    assert [(nic["nic"], nic["link"], nic["reason"]) for nic in attachment["nics"]] == [
        ("eth1", "net1-0", "no reason was written down")
    ]
    assert "chosen by a daemon that kept no reasons" in ask(node, "pod-c1").stdout


def test_a_pod_that_is_not_here_is_an_error(node: Any) -> None:
    """Status 1 and what was looked for, with ``--json`` as well."""
    for arguments in (["default/nobody"], ["default/nobody", "--json"]):
        done = ask(node, *arguments)
        assert done.exit_code == 1
        assert "pod default/nobody: nothing is attached to it by" in done.stderr


def test_without_a_journal_there_is_nothing_to_explain(tmp_path: Path) -> None:
    """And none is made."""
    done = CliRunner().invoke(multinic, ["explain", "pod", "--run-dir", str(tmp_path), "a/b"])
    assert done.exit_code == 1
    assert "no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_figures_of_strategies_of_others_are_shown_as_they_are(node: Any) -> None:
    """Names that end in ``_bit_per_s`` are bandwidths for people; what is None or empty is left out."""

    class Theirs:
        name = "theirs"

        def select(self, request: object, candidates: Any) -> Selection:
            figures: dict[str, Figure] = {
                "free_bit_per_s": 2_500_000_000,
                "score": 0.5,
                "rack": "r7",
                "nothing": None,
                "blank": "",
            }
            names = [nic.ifname for nic in candidates]
            return Selection((names[0],), dict.fromkeys(names, "as we like"), figures={names[0]: figures})

    node.rig.registry.strategies.objects["theirs"] = Theirs()
    node.add_network("other", "theirs")
    await node.add("other", "c1")
    (line,) = [line for line in ask(node, "pod-c1").stdout.splitlines() if line.strip().startswith("eth1")]
    assert line.rstrip().endswith("free 2.5 Gbit/s, score 0.5, rack r7")
