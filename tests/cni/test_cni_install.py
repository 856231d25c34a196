"""Installing the executables: what is written, how it is replaced, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from multinic_cni import install as module
from multinic_cni.install import NAMES, choose_interpreter, install, main
from multinic_cni.text import render


def test_both_executables_are_written_for_everyone_to_run(tmp_path, capsys):
    """Mode 0755, with the paths printed and nothing unfinished left."""
    assert main(["install", "--bin-dir", str(tmp_path / "bin"), "--socket", "/run/x.sock"]) == 0
    written = sorted((tmp_path / "bin").iterdir())
    assert [path.name for path in written] == sorted(NAMES)
    assert [path.stat().st_mode & 0o777 for path in written] == [0o755, 0o755]
    assert sorted(capsys.readouterr().out.split()) == [str(path) for path in written]


def test_a_file_in_use_is_replaced_by_another_file(tmp_path):
    """A process that runs the old one keeps it: the new one is a new file under the same name."""
    install(tmp_path, Path("/run/old.sock"))
    with (tmp_path / "multi-nic").open() as running:
        install(tmp_path, Path("/run/new.sock"))
        assert "/run/old.sock" in running.read()
        assert os.fstat(running.fileno()).st_ino != (tmp_path / "multi-nic").stat().st_ino
    assert "/run/new.sock" in (tmp_path / "multi-nic").read_text()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """Where the rename fails, the folder is as it was."""
    install(tmp_path, Path("/run/old.sock"))

    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"):
        install(tmp_path, Path("/run/new.sock"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert "/run/old.sock" in (tmp_path / "multi-nic").read_text()


def test_the_first_line_names_the_interpreter_and_one_option(tmp_path):
    """Kernels pass everything after the interpreter as one argument."""
    text = render("multi-nic", Path("/run/x.sock"), Path("/opt/python/bin/python3"))
    assert text.splitlines()[0] == b"#!/opt/python/bin/python3 -IS"


@pytest.mark.parametrize(
    ("socket", "interpreter", "named"),
    [
        ("run/x.sock", "/usr/bin/python3", "socket"),
        ("/" + "x" * 106, "/usr/bin/python3", "socket"),
        ("/run/x.sock", "/" + "p" * 121, "interpreter"),
        ("/run/x.sock", "/opt/my python/python3", "interpreter"),
    ],
)
def test_what_would_not_start_is_refused(tmp_path, capsys, socket, interpreter, named):
    """A path the kernel would cut, or a socket nobody can bind, is refused with exit status 1 and no file written."""
    arguments = ["install", "--bin-dir", str(tmp_path / "b"), "--socket", socket, "--interpreter", interpreter]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"multinic-cni: {named}: found ")
    assert not (tmp_path / "b").exists()


def test_the_chosen_interpreter_runs_and_is_new_enough():
    """Whatever machine this is, the default can run the executables."""
    question = "import sys; sys.exit(sys.version_info < (3, 11))"
    assert subprocess.run([choose_interpreter(), "-IS", "-c", question], check=False).returncode == 0


@pytest.mark.parametrize("usual", ["/nonexistent/python3", "/bin/false"], ids=["absent", "too old"])
def test_without_a_usual_interpreter_the_base_of_this_environment_is_used(monkeypatch, usual):
    """Not the virtual environment's link: finding the environment again would cost at every start."""
    monkeypatch.setattr(module, "USUAL", Path(usual))
    assert choose_interpreter() == Path(sys._base_executable)


def test_an_interpreter_that_does_not_run_here_gets_the_source_alone(tmp_path):
    """An image can install for its host, whose interpreter it does not have."""
    for interpreter in ("/nonexistent/python3", "/bin/false"):
        text = render("multi-nic", Path("/run/x.sock"), Path(interpreter)).decode()
        assert 'COMPILED = ""' in text
        path = tmp_path / "multi-nic"
        path.write_text(text.replace(interpreter, sys.executable, 1))
        path.chmod(0o755)
        done = subprocess.run([path], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=False)
        assert (done.returncode, b"supportedVersions" in done.stdout) == (0, True)
