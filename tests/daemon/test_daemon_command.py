"""The command line: what it refuses, and how the journal is shown."""

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from multinic_daemon import service
from multinic_daemon.__main__ import main
from multinic_daemon.journal.journal import Journal
from multinic_daemon.logs import KeyValueFormatter
from multinic_daemon.service import Settings
from multinic_daemon.testing import Rig


async def test_dump_shows_every_row(rig: Rig) -> None:
    """As JSON for programs, as a table for people, while the daemon runs."""
    result = await rig.call("ADD")
    run_dir = str(rig.folder / "run")
    done = CliRunner().invoke(main, ["dump", "--run-dir", run_dir, "--json"])
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)["attachments"]
    assert sorted(each["address"] for each in row["addresses"]) == sorted(ip["address"] for ip in result["ips"])
    assert row["links"] == [interface["name"] for interface in result["interfaces"]]
    table = CliRunner(env={"COLUMNS": "160"}).invoke(main, ["dump", "--run-dir", run_dir]).stdout
    assert "192.168.0.1/18 on eth1" in table
    assert "default/pod-1" in table


def test_dump_without_a_journal_fails(tmp_path: Path) -> None:
    """And makes none."""
    done = CliRunner().invoke(main, ["dump", "--run-dir", str(tmp_path), "--json"])
    assert done.exit_code == 1
    assert "no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_node_name_is_needed() -> None:
    """By option or environment."""
    done = CliRunner(env={"K8S_NODENAME": None}).invoke(main, [])
    assert done.exit_code == 2
    assert "K8S_NODENAME" in done.stderr


def test_refused_journal_ends_the_start(tmp_path: Path) -> None:
    """By name, on standard error, with status 1, before anything else is done."""
    journal = Journal.open(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        done = CliRunner().invoke(main, ["--node", "n1", "--run-dir", str(tmp_path)])
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        journal.close()
    assert done.exit_code == 1
    assert "another daemon has it open" in done.stderr
    assert not (tmp_path / "cni.sock").exists()


def test_log_line_is_one_line_of_pairs() -> None:
    """A constant message and its fields, whatever they hold."""
    record = logging.makeLogRecord(
        {
            "name": "x",
            "levelname": "INFO",
            "msg": "NICs changed",
            "created": 0.0,
            "nics": ["a", "b"],
            "cause": 'x "y"\nz',
        }
    )
    assert KeyValueFormatter().format(record) == (
        'time=1970-01-01T00:00:00.000+00:00 level=info logger=x msg="NICs changed"'
        ' nics=["a", "b"] cause="x \\"y\\"\\nz"'
    )


def test_folders_of_executables_reach_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By option or environment, else the folder that runtimes use."""
    seen: list[str] = []

    async def run(settings: Settings) -> None:
        seen.append(settings.cni_bin)

    monkeypatch.setattr(service, "run_daemon", run)
    plain = ["--node", "n", "--run-dir", str(tmp_path)]
    monkeypatch.delenv("MULTINIC_CNI_BIN", raising=False)
    for arguments, environment in (
        (plain, {}),
        ([*plain, "--cni-bin", "/a:/b"], {}),
        (plain, {"MULTINIC_CNI_BIN": "/usr/libexec/cni"}),
    ):
        done = CliRunner(env=environment).invoke(main, arguments)
        assert done.exit_code == 0, done.output
    assert seen == ["/opt/cni/bin", "/a:/b", "/usr/libexec/cni"]
