"""docs/first-plugin.md, done as it stands: its files are written and its commands run, in an environment of its own."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/first-plugin.md").read_text()
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"`(?P<path>[\w/.]+)`:\n\n$")
SHELL, SHOWN, WRITTEN = "sh", "text", {"python", "yaml"}


@pytest.fixture
def environment(tmp_path):
    """Variables for a shell in a fresh virtual environment, over the packages that this one has.

    What is installed goes to the fresh one. Nothing is downloaded: building uses the packages that are here too.
    """
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    (packages / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("multinic", "pip", "pytest", "mypy", "ruff"):
        tool = Path(sys.executable).with_name(name)
        first, _, rest = tool.read_bytes().partition(b"\n")
        if first.startswith(b"#!"):
            copy = home / "bin" / name
            copy.write_bytes(f"#!{home}/bin/python\n".encode() + rest)
            copy.chmod(0o755)
        else:
            (home / "bin" / name).symlink_to(tool)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTEST_", "PYTHON"))},
        "VIRTUAL_ENV": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",  # they are below, whatever else is missing there
        "PIP_NO_BUILD_ISOLATION": "0",  # the way to write --no-build-isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def test_every_step_of_the_page_works(environment, tmp_path):
    """Each file is written where the page says, each command ends well, and prints the lines that the page shows."""
    folder, printed, done = tmp_path / "work", "", []
    folder.mkdir()
    for step in BLOCK.finditer(PAGE):
        language, text = step["language"], step["text"]
        done.append(language)
        if language == SHELL:
            printed = shell(text, folder, environment)
            folder = Path(printed.splitlines()[-1])
        elif language == SHOWN:
            assert missing(text, printed) == [], printed
        else:
            assert language in WRITTEN
            place = PLACE.search(PAGE[: step.start()])
            assert place, f"no file is named before the block {text[:60]!r}"
            (folder / place["path"]).write_text(text)
    assert done.count(SHELL) == PAGE.count("```sh\n") == 7
    assert len(done) == 16
    assert folder == tmp_path / "work"


def shell(commands, folder, environment):
    """What they print; the last line is the folder in which they end."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{commands}pwd"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def missing(shown, printed):
    """The lines shown that were not printed, however many spaces are between words; … stands for anything."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    patterns = [".*".join(re.escape(part) for part in " ".join(line.split()).split("…")) for line in shown.splitlines()]
    return [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in lines)]


@pytest.mark.parametrize(
    ("shown", "absent"), [("a   b\n", []), ("… b\n", []), ("b\n", ["b"]), ("a b c\n", [r"a\ b\ c"])]
)
def test_a_line_that_was_not_printed_is_missing(shown, absent):
    """The comparison that the page is held to finds whole lines only."""
    assert missing(shown, "x\n  a b  \n") == absent
