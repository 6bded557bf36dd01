"""How commands end where something is odd: a terminal without UTF-8, a reader that leaves, Ctrl-C, a name nobody has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.cli import ask
from orchestrator.cli import main as entry
from orchestrator.cli._control import show
from orchestrator.cli._errors import CliError
from orchestrator.config import ConfigError, load_profile
from orchestrator.control.messages import Reply


def run(code, **environ):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, **environ}, timeout=60, check=False)


SAYS = "from orchestrator.cli import main\nclass App:\n    def main(self, **_):\n        {}\nmain.build_app = lambda: None\nmain.typer.main.get_command = lambda app: App()\nmain.main([])"


def test_a_terminal_without_utf8_gets_a_question_mark_and_no_traceback():
    done = run(SAYS.format("print('1 \\u2192 2')"), PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1 ? 2\n", b"")


def test_who_stops_a_command_before_it_did_anything_is_told_so():
    done = run(SAYS.format("raise KeyboardInterrupt"))
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")
    assert run(SAYS.format("return 130")).stderr == b"interrupted\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_early_is_no_failure(lines):
    read, write = os.pipe()
    os.close(read)
    code = SAYS.format(f"[print('x' * 80) for _ in range({lines})]")
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_brackets_without_end_are_told_and_a_name_beginning_with_a_dash_is_none():
    with pytest.raises(CliError, match="nested deeper"):
        ask.parse(["text=" + "[" * 100_000])
    for name in ("-x", "", "x" * 33):
        with pytest.raises(ConfigError, match="not beginning with"):
            load_profile("laptop", {"engine.name": name})
    assert load_profile("laptop", {"engine.name": "x-1"}).engine.name == "x-1"


def test_what_goes_on_is_not_called_done(capsys):
    show(Reply(id="1", ok=True, data={"deploy": "1", "state": "under way"}), "deploy", False)
    out = capsys.readouterr()
    assert out.out.startswith("deploy: begun") and "deploy.status" in out.err


@pytest.mark.parametrize("name", ["nosuch", "../x"])
def test_the_history_of_an_engine_nobody_knows_is_an_error(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PEREGRINE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        entry.main(["config", "history", name])
    assert end.value.code == 69 and f"no engine {name}" in capsys.readouterr().err
