"""`peregrine policy info|verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotpath.policy import artifact
from orchestrator.cli import main as cli


def peregrine(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    return int(ended.value.code or 0)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    artifact.save(artifact.make_reference(1), tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


def test_info_tells_shape_inputs_actions_and_provenance(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peregrine("policy", "info", str(good)) == 0
    out = capsys.readouterr().out
    for piece in ("reference-1  16-16-5", "take_bid", "microprice_offset ×64>>12", "relu, shifts 6..6", "seed: 1"):
        assert piece in out


def test_info_as_json_names_every_input(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peregrine("policy", "info", "--json", str(good)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sizes"] == [16, 16, 5] and len(told["inputs"]) == 16
    assert told["sha256"] == artifact.load(good).sha256


def test_verify_runs_every_kernel(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peregrine("policy", "verify", str(good)) == 0
    assert "64 parity vectors equal on oracle, scalar" in capsys.readouterr().out
    assert peregrine("policy", "verify", str(good), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["parity"]["scalar"]


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_bad_artifact_is_refused_with_reason_hint_and_exit_78(command: str, good: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(good.read_bytes())
    at = data.index(b"peregrine.policy")
    data[at:at + 16] = b"something.else.."
    good.write_bytes(data)
    assert peregrine("policy", command, str(good)) == 78
    err = capsys.readouterr().err
    assert "policy refused" in err and "format: found 'something.else..'" in err and "hint:" in err


def test_verify_says_which_kernel_differs(good: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "verify", lambda _: {"oracle": True, "scalar": True, "avx2": False})
    assert peregrine("policy", "verify", str(good)) == 78
    assert "parity vectors differ on avx2" in capsys.readouterr().err
