"""What a shard's reading may teach the lease manager: nothing that is older, or lower than the shard was told to go."""

from __future__ import annotations

from orchestrator.control.leases import RETURN, LeaseManager, Reading


def test_an_older_reading_takes_no_epoch_back_so_no_message_repeats_one_the_shard_has_seen():
    manager = LeaseManager(1000, [600, 400], epochs=[5, 5], step_units=1)
    manager.read(0, Reading(epoch=4, level_units=100, used_units=0))
    assert manager.bound_units(0) == 600
    assert all(m.epoch == 6 for m in manager.tick() if m.shard == 0)


def test_a_return_is_believed_as_far_as_it_was_asked_for():
    manager = LeaseManager(1000, [1000, 0], epochs=[1, 1], step_units=1)
    manager.read(1, Reading(epoch=1, level_units=0, used_units=0, refused=1))
    asked = next(m for m in manager.tick() if m.kind == RETURN and m.shard == 0)
    manager.read(0, Reading(epoch=asked.epoch, level_units=1000 - asked.units - 1, used_units=0))
    assert manager.bound_units(0) == 1000, "no shard gives up more: what was read is not its level"
    assert manager.free_units() == 0
