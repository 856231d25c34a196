"""A guest runs only the files that hold tests for it, or what it is told to run."""

from pathlib import Path

import pytest
from multinic_lab.kernel import kernel_tests, placement

HERE = Path(__file__).resolve()


@pytest.fixture(autouse=True)
def _two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A tree of tests with one for SR-IOV, run as the emulated PC's run is."""
    for name, mark in {"one": "pytest.mark.sriov", "two": "pytest.mark.needs_root"}.items():
        path = tmp_path / "tests" / f"test_{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"import pytest\n\n\n@{mark}\ndef test_{name}():\n    pass\n")
    (tmp_path / "tests" / "conftest.py").write_text((HERE.parents[2] / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = \n sriov\n needs_root\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(placement.NATIVE_KINDS, "")
    monkeypatch.setenv(placement.IN_EMULATED_PC, "1")


def test_files_without_tests_for_the_guest_are_left_out():
    """Importing them there would take longer than running those that are for it."""
    command, status = kernel_tests.pytest_command(["-x"])
    assert status == 0
    assert command[-2:] == ["-x", "tests/test_one.py"]


def test_a_path_among_the_arguments_is_run_as_it_is():
    """It selects by itself, so that nothing is added to it; what it selects must be for this guest."""
    command, status = kernel_tests.pytest_command(["tests/test_one.py::test_one"])
    assert (command[-1], status) == ("tests/test_one.py::test_one", 0)
    assert kernel_tests.pytest_command(["tests/test_two.py"])[1] == kernel_tests.NO_TESTS


def test_a_file_that_cannot_be_imported_is_shown_and_is_no_empty_selection(capsys: pytest.CaptureFixture[str]):
    """The status is pytest's own, and so are the words."""
    Path("tests/test_three.py").write_text("import no_such_module\n")
    _, status = kernel_tests.pytest_command([])
    assert status not in (0, kernel_tests.NO_TESTS)
    assert "No module named 'no_such_module'" in capsys.readouterr().out
