"""The text of the executables and of the stages they consist of.

An executable for CPython is a first line naming the interpreter, the sources of ``call`` and ``fallback``, the compiled
form of ``call``, and a last line that starts it with the socket's path. The compiled form saves 0.4 of 6.2 ms at each
start. It is used only by an interpreter whose bytecode it is; any other, such as the same one after an upgrade,
compiles the source beside it.

With a first stage the executable is the source of ``quick``, bare of all that only people read. What that hands over to
is the same text as above apart from its end: it takes from its arguments what an executable has in itself, so that one
file serves all executables.
"""

import ast
import os
import socket as kernel
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from multinic_cni.call import ANSWER_SECONDS, MARK, STANDALONE

OPTIONS = "-IS"
"""-I takes no notice of PYTHON* variables, -S looks for no site. One word: a first line carries no more."""
SHEBANG_LIMIT = 127
"""Bytes of a first line that every kernel takes whole. Source: linux/binfmts.h, BINPRM_BUF_SIZE before 5.1."""

COMPILER = """
import marshal, sys
from _frozen_importlib_external import MAGIC_NUMBER
code = compile(sys.stdin.read(), "multinic_cni.call", "exec", optimize=2)
print(MAGIC_NUMBER.hex(), marshal.dumps(code).hex())
"""
"""What the chosen interpreter runs to compile ``call``."""

TEMPLATE = '''"""{what} of multinic, written by "multinic-cni install": hands a CNI call to the daemon of this node."""

CALL = {call}

FALLBACK = {fallback}

import marshal
from _frozen_importlib_external import MAGIC_NUMBER

COMPILED = "{code}"
exec(marshal.loads(bytes.fromhex(COMPILED)) if MAGIC_NUMBER.hex() == "{magic}" else CALL)
{last}
'''
LAST = """ANSWER_SECONDS = {seconds}
STANDALONE_PYTHON = {standalone!r}
run({socket!r}, {plugin!r}, FALLBACK)"""
LAST_OF_SECOND = """{resume}
ANSWER_SECONDS, STANDALONE_PYTHON = int(sys.argv[1]), sys.argv[4]
run(sys.argv[3], sys.argv[2].encode(), FALLBACK, resumed(read_stdin(), *sys.argv[5:]) if sys.argv[5] else None)"""
QUICK = """# {name} of multinic, written by "multinic-cni install": hands a CNI call to the daemon of this node.
# The first of two stages, for MicroPython: multinic_cni/quick.py, without its comments.
{source}
"""
KERNEL: Mapping[str, object] = {
    "SO_RCVTIMEO": int(kernel.SO_RCVTIMEO),
    "SO_SNDTIMEO": int(kernel.SO_SNDTIMEO),
    "MSG_NOSIGNAL": int(kernel.MSG_NOSIGNAL),
    "MSG_WAITALL": int(kernel.MSG_WAITALL),
}
"""Numbers of this machine's kernel that MicroPython does not know."""


def compiled_by(interpreter: Path, source: str) -> tuple[str, str]:
    """The magic number of an interpreter's bytecode and the bytecode, both in hexadecimal.

    Both are "" when it does not run here, as one of a host does not in the container that installs for it.
    """
    try:
        done = subprocess.run(
            [interpreter, "-IS", "-c", COMPILER], input=source, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "", ""
    magic, code = done.stdout.split()
    return magic, code


def render(
    name: str,
    socket: Path,
    interpreter: Path,
    *,
    options: str = OPTIONS,
    compiler: Path | None = None,
    seconds: int = ANSWER_SECONDS,
    standalone: Path | None = None,
) -> bytes:
    """The text of one executable for CPython.

    Args:
        name: of the executable.
        socket: the daemon's.
        interpreter: as the host sees it.
        options: one word for the interpreter.
        compiler: the same interpreter as it can be run here; None when that is the same path.
        seconds: how long to wait for the daemon's answer.
        standalone: the interpreter of standalone networks, as the host sees it; None: there is none.

    Raises:
        ValueError: as `require_startable`.
    """
    require_startable(interpreter, options, socket, seconds)
    last = LAST.format(seconds=seconds, socket=str(socket), plugin=name.encode(), standalone=str(standalone or ""))
    early = MARK + b"%d %s %s\n" % (seconds, name.encode(), os.fsencode(socket))
    return _first_line(interpreter, options) + early + _for_cpython(name, compiler or interpreter, last)


def render_second(compiler: Path) -> bytes:
    """The text that a first stage hands over to, for all executables; ``compiler`` as for `render`."""
    return _for_cpython("the second stage", compiler, LAST_OF_SECOND.format(resume=_source("resume")))


def render_first(
    name: str,
    socket: Path,
    interpreter: Path,
    handover: Path,
    second: Sequence[str],
    *,
    seconds: int = ANSWER_SECONDS,
    standalone: Path | None = None,
) -> bytes:
    """The text of one executable for MicroPython.

    Args:
        name: of the executable.
        socket: the daemon's.
        interpreter: as the host sees it.
        handover: what `render_handover` gave, as the host sees it.
        second: the words of a command on the host, which runs what `render_second` gave.
        seconds, standalone: as for `render`.

    Raises:
        ValueError: as `require_startable`.
    """
    require_startable(interpreter, "", socket, seconds)
    words = [*second, str(seconds), name, str(socket), str(standalone or "")]
    settings: dict[str, object] = {
        "PLUGIN": name,
        "ADDRESS": struct.pack("=H", kernel.AF_UNIX) + os.fsencode(socket) + b"\0",
        "TIMEOUT": struct.pack("=qq", seconds, 0),
        "SECONDS": seconds,
        "STANDALONE": STANDALONE,
        "HANDOVER": str(handover),
        "WORDS": b"".join(os.fsencode(word) + b"\0" for word in words),
    }
    return _first_line(interpreter, "") + QUICK.format(name=name, source=_bare("quick", settings)).encode()


def render_handover() -> bytes:
    """The text that a first stage goes on with when it cannot print an answer at once."""
    return _bare("handover", {}).encode()


def require_startable(interpreter: Path, options: str, socket: Path, seconds: int) -> None:
    """Refuse what an executable could not be started or reach a daemon with.

    Raises:
        ValueError: the interpreter's path does not fit into a first line, or the socket's into a socket address, or
            the wait is none.
    """
    room = SHEBANG_LIMIT - len(_first_line(Path(), options))
    if len(os.fsencode(interpreter)) > room or any(c in os.fsencode(interpreter) for c in b" \t\n"):
        raise ValueError(f"interpreter: found {str(interpreter)!r}, expected no spaces and at most {room} bytes")
    if not socket.is_absolute() or len(os.fsencode(socket)) > 106 or "\n" in str(socket):
        raise ValueError(f"socket: found {str(socket)!r}, expected an absolute path of at most 106 bytes in one line")
    if seconds < 1:
        raise ValueError(f"answer-seconds: found {seconds}, expected 1 or more")


def _first_line(interpreter: Path, options: str) -> bytes:
    return b"#!" + os.fsencode(interpreter) + f" {options}".rstrip().encode() + b"\n"


def _source(module: str) -> str:
    return (Path(__file__).parent / f"{module}.py").read_text()


def _for_cpython(what: str, compiler: Path, last: str) -> bytes:
    call = _source("call")
    magic, code = compiled_by(compiler, call)
    fallback = _literal(_source("fallback"))
    return TEMPLATE.format(
        what=what, call=_literal(call), fallback=fallback, code=code, magic=magic, last=last
    ).encode()


def _literal(source: str) -> str:
    """The source as a raw string that a person can read in the executable."""
    literal = f"r'''{source}'''"
    if ast.literal_eval(literal) != source:
        raise ValueError("a source of the executables cannot be written as a raw string")
    return literal


def _bare(module: str, settings: Mapping[str, object]) -> str:
    """A source without comments, docstrings and annotations, and with values in place of names in capital letters.

    Args:
        module: whose.
        settings: values of such names; further ones are those that they are given in the source.
    """
    tree = ast.parse(_source(module))
    values = {**KERNEL, **settings}
    body: list[ast.stmt] = []
    for statement in tree.body:
        name = _name(statement)
        if name.isupper():
            assert isinstance(statement, ast.Assign)
            values.setdefault(name, ast.literal_eval(statement.value))
        else:
            body.append(statement)
    tree.body = body
    return ast.unparse(_Barer(values).visit(tree))


def _name(statement: ast.stmt) -> str:
    """Of what a statement gives a value to, if it is one name."""
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) else ""


class _Barer(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self._values[node.id]) if node.id.isupper() else node  # type: ignore[arg-type]

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        assert node.value
        return self.generic_visit(ast.Assign([node.target], node.value, lineno=node.lineno))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return self.generic_visit(node)
