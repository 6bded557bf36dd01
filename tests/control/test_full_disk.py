"""A control server whose disk is really full: a file system of 64 KiB in a mount namespace of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from control_rig import Recorder, Rig, ask, until
from orchestrator.control.messages import Request

disk = Path(sys.argv[1])
ballast = disk / "ballast"
recorder = Recorder()
with Rig(disk / "e", recorder) as rig:
    server, s = rig.server, rig.dealer()
    def note(n):
        return ask(s, Request(cmd="note", id=f"id{n}", args={"text": "lunch"}, why="because", who="anna"))
    assert note(0).ok
    until(lambda: server.audit.written == 1)
    try:
        with ballast.open("wb", 0) as file:
            while True:
                file.write(bytes(1024))
    except OSError:
        pass
    answered = sum(note(n).ok for n in range(1, 151))
    kill = ask(s, Request(cmd="kill", why="fire", who="anna"))
    until(lambda: server.audit.written + server.audit.lost == 152)
    lost = {"audit": server.audit.lost, "replies": server.reply_file.lost}
    again = note(150)
    ballast.unlink()
    written = server.audit.written
    assert note(200).ok
    until(lambda: server.audit.written == written + 1)
lines = (disk / "e/control.log").read_bytes().splitlines()
whole = sum(1 for line in lines if line.startswith(b"{") and line.endswith(b"}"))
kept = [r.id for r in type(server.reply_file)(disk / "e/control.replies").read()]
print(json.dumps({"answered": answered, "kill": kill.data["kill_word"], "killed": rig.killed, "lost": lost, "duplicate": again.duplicate,
                  "torn": len(lines) - whole, "kept": kept, "last": json.loads(lines[-1])["id"]}))
"""


def may_mount() -> bool:
    """Is this root, with a kernel that lets it have mounts of its own?"""
    return os.geteuid() == 0 and shutil.which("unshare") is not None and subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"], capture_output=True, check=False).returncode == 0  # fmt: skip


def test_with_the_disk_full_everything_is_answered_and_what_was_lost_is_counted(tmp_path):
    if not may_mount():
        pytest.skip("mounts need root and namespaces; RLIMIT_FSIZE stands in for it in test_isolation")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    disk = tmp_path / "d"
    disk.mkdir()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    command = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" "$3" "$1"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", command, "sh", str(disk), sys.executable, str(script)], capture_output=True, text=True,
                          env=env, timeout=180, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["answered"] == 150 and told["kill"] and told["killed"] == ["cancel"]
    assert told["lost"]["audit"] > 0 and told["lost"]["replies"] > 0
    assert told["duplicate"], "remembered by this server at least"
    assert told["kept"][0] == "id0" and told["kept"][-1] == "id200" and told["torn"] <= 1 and told["last"] == "id200"
