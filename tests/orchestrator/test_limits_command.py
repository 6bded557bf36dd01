"""What `peregrine limits set` reads from its words."""

from __future__ import annotations

import pytest

from orchestrator.cli._errors import CliError
from orchestrator.cli.limits import parse


def test_words_become_integers():
    assert parse(["max_order_lots=1_50", "max_loss_units=0"]) == {"max_order_lots": 150, "max_loss_units": 0}


@pytest.mark.parametrize("word", ["max_order_lots", "max_order_lots=", "a=nan", "a=1e3", "a=٣", "a=99999999999999999999", "a=-9223372036854775809"])
def test_a_word_that_is_none_is_named(word):
    with pytest.raises(CliError, match=r"expected NAME=INTEGER.*" + word.partition("=")[0]):
        parse(["b=1", word])


def test_a_limit_named_twice_is_refused_and_not_guessed_at():
    with pytest.raises(CliError, match="named twice: a"):
        parse(["a=1", "b=2", "a=3"])
