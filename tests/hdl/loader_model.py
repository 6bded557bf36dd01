"""What the loadable core replies to bank commands: a slow, obvious model, word for word from docs/formats-bank-image.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from peregrine_hdl import bank_image
from peregrine_hdl.loadable_limits import BANKS, Limits

START, WORD, SWAP = 0, 1, 2


@dataclass
class Bank:
    """A bank's image so far."""

    words: list[int] = field(default_factory=list)
    good: bool = False


@dataclass
class LoaderModel:
    """Replies to commands in their order; `active` is the answering bank, None before the first swap."""

    limits: Limits
    banks: list[Bank] = field(default_factory=lambda: [Bank() for _ in range(BANKS)])
    active: int | None = None

    def reply(self, op: int, bank: int, word: int) -> tuple[int, int, int, int, int]:
        """(op, bank, ok, words, crc)."""
        ok = bank < BANKS and self._take(op, bank, word)
        words = self.banks[bank].words if bank < BANKS else []
        return op, bank, int(ok), len(words), bank_image.crc(words) if bank < BANKS else 0

    def _take(self, op: int, bank: int, word: int) -> bool:
        mine = self.banks[bank]
        if op == SWAP:
            if mine.good and self._place(mine.words) is None:
                self.active = bank
                return True
            return False
        if bank == self.active or op > SWAP:
            return False
        if op == START:
            self.banks[bank] = Bank([], True)
            return True
        mine.good = mine.good and self._expected(mine.words, word)
        if mine.good:
            mine.words.append(word)
        return mine.good

    def _place(self, words: list[int]) -> tuple[int, int, int] | None:
        """(region, index, words left) of the next word: left is 0 for a head, -1 for word 0; None behind the last section."""
        if not words:
            return 0, 0, -1
        at = 1
        for region in range(len(bank_image.REGIONS)):
            if at == len(words):
                return region, 0, 0
            count = words[at] & 0xFFFFFF
            if at + 1 + count > len(words):
                index = len(words) - at - 1
                return region, index, count - index
            at += 1 + count
        return None

    def _expected(self, words: list[int], word: int) -> bool:
        place = self._place(words)
        if place is None:
            return False
        region, index, left = place
        if left < 0:
            return word == 1 | self.limits.slots << 8 | self.limits.lanes << 16
        if left == 0:
            return self._head(region, word >> 24, word & 0xFFFFFF)
        return self._field(region, index, word)

    def _head(self, region: int, named: int, count: int) -> bool:
        limits = self.limits
        if named != region or count == 0:
            return False
        if region == 0:
            return count == limits.slots
        if region == 1:
            return count % 2 == 0 and count // 2 <= limits.layer_entries
        if region == 2:
            return count == 64 * limits.slots
        if region == 3:
            return count % limits.lanes == 0 and count // limits.lanes <= limits.channel_rows
        return count % (limits.lanes // 4) == 0 and count // (limits.lanes // 4) <= limits.weight_rows

    def _field(self, region: int, index: int, word: int) -> bool:
        limits = self.limits
        low, high = word & 0xFFFF, word >> 16
        byte = [word >> 8 * k & 255 for k in range(4)]
        if region == 0:
            held = byte[0] + byte[1] <= limits.layer_entries and 1 <= byte[1] <= 6 and 1 <= byte[2] <= 64
            return word == 0 or (byte[3] == 128 and held)
        if region == 1 and index % 2 == 0:
            return 1 <= byte[0] <= 128 and 1 <= byte[1] <= 128 and high <= 1
        if region == 1:
            return low < limits.weight_rows and high < limits.channel_rows
        if region == 2:
            return high <= 46
        if region == 3:
            return word >> 30 == 0 and word >> 25 <= 24
        return True
