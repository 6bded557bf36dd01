"""What `config deploy` shows of a deploy that the supervisor does: line by line, to its end, stopped by Ctrl-C."""

from __future__ import annotations

import json

import pytest
import typer

from orchestrator.cli import _config_deploy as cli
from orchestrator.cli._control import Options
from orchestrator.cli._errors import CliError
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Reply

LINES = ["backup     x", "applied    1/1 y", "verifying  10 s"]


class Supervisor:
    """Has one more line at each look, and is over after the last; `interrupted_at`: the look at which Ctrl-C comes."""

    def __init__(self, state: str = "good", interrupted_at: int = -1, **end) -> None:
        self.state, self.interrupted_at, self.end = state, interrupted_at, end
        self.looks, self.asked = 0, []

    def call(self, cmd, args, **_):
        if cmd == "deploy":
            self.asked.append(args)
            self.state = "rolled back"
            return Reply(id="a", ok=True, data={"deploy": "d1", "state": "taken back"})
        assert cmd == "deploy.status" and args["id"] == "d1"
        self.looks += 1
        if self.looks == self.interrupted_at:
            raise KeyboardInterrupt
        said = LINES[: self.looks]
        told = {"id": "d1", "number": 7, "health": [], "left": [], "steps": [], "code": "", "message": "", "hint": "", "changes": [], **self.end}
        return Reply(id="s", ok=True, data={**told, "state": self.state if self.looks > len(LINES) else "under way",
                                            "lines": said[args["after"] :], "next": len(said)})  # fmt: skip


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(cli, "POLL_S", 0)


def test_each_line_is_told_once_and_the_end_has_its_code(capsys):
    told = cli._follow(Supervisor(), "d1", Options(who="ada"))
    with pytest.raises(typer.Exit) as end:
        cli._tell(told, False)
    assert end.value.exit_code == 0 and capsys.readouterr().out.splitlines() == [*LINES, "deploy 7: good"]


def test_ctrl_c_has_it_taken_back_and_waits_for_that(capsys):
    supervisor = Supervisor(interrupted_at=2, health=["stopped by ada: interrupted"])
    told = cli._follow(supervisor, "d1", Options(who="ada"))
    assert supervisor.asked == [{"abort": True}] and told["state"] == "rolled back"
    with pytest.raises(CliError, match="rolled back: stopped by ada") as end:
        cli._tell(told, True)
    assert end.value.code == 75
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "rolled back"


@pytest.mark.parametrize(("code", "exit_code"), [("usage", 78), ("conflict", 78), ("refused", 75), ("unavailable", 69), ("denied", 69), ("internal", 70)])
def test_what_changed_nothing_says_so_with_the_code_that_belongs_to_it(code, exit_code):
    told = cli._follow(Supervisor("refused", code=code, message="no", hint="do", changes=["engine.idle: a → b"]), "d1", Options())
    with pytest.raises(CliError, match="nothing was changed: no\n    engine.idle") as end:
        cli._tell(told, False)
    assert (end.value.code, end.value.hint) == (exit_code, "do")


def test_what_could_not_be_taken_back_whole_is_loud():
    told = cli._follow(Supervisor("failed", left=["limits: no engine"]), "d1", Options())
    with pytest.raises(CliError, match="FAILED and could not be taken back whole: limits: no engine") as end:
        cli._tell(told, False)
    assert end.value.code == 70


def test_a_supervisor_that_goes_down_with_its_tree_is_waited_for_as_long_as_a_restart_may_take(capsys):
    class Away(Supervisor):
        def call(self, cmd, args, **more):
            if self.looks == 1 and self.away:
                self.away -= 1
                raise ControlError("timeout", "did not answer")
            return super().call(cmd, args, **more)

    one = Away()
    one.away = 3
    assert cli._follow(one, "d1", Options(), away_s=60)["state"] == "good" and one.away == 0
    assert capsys.readouterr().out.splitlines() == LINES
    one = Away()
    one.away = 3
    with pytest.raises(ControlError):
        cli._follow(one, "d1", Options())


@pytest.mark.parametrize("restart", [[], ["engine.idle: yield → spin"]])
def test_a_plan_is_shown_for_people_and_programs(restart, capsys):
    plan = {"steps": [{"cmd": "limits.set", "args": {}, "says": "account limits"}], "changes": [{"setting": "a"}], "kept": ["b: 1 → 2"], "restart": restart}
    for as_json in (True, False):
        with pytest.raises(typer.Exit) as end:
            cli._show_plan(plan, as_json)
        assert end.value.exit_code == 0
    said = capsys.readouterr().out.splitlines()
    first = ["down and up again, for the sake of:", "    engine.idle: yield → spin"] if restart else ["1. limits.set     account limits"]
    assert json.loads(said[0]) == plan and said[1:] == [*first, "kept: b: 1 → 2"]
