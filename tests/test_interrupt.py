"""Ctrl-C that is never lost and never half done."""

from __future__ import annotations

import gc
import signal

import pytest

from stage1.interrupt import Interrupt


def test_ctrl_c_is_raised_where_it_is_asked_for_and_not_before():
    done = []

    def work():
        with Interrupt() as interrupt:
            interrupt.check()
            signal.raise_signal(signal.SIGINT)
            done.append("what had begun")
            interrupt.check()
            done.append("what comes after")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["what had begun"]


def test_ctrl_c_is_not_lost_inside_a_destructor():
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work():
        with Interrupt() as interrupt:
            thing = Dying()
            thing.itself = thing
            del thing
            gc.collect()
            interrupt.check()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_ctrl_c_at_the_very_end_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        signal.raise_signal(signal.SIGINT)


def test_an_error_is_not_hidden_by_ctrl_c():
    def work():
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        work()


def test_afterwards_ctrl_c_is_what_it_was_before():
    before = signal.getsignal(signal.SIGINT)

    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before

    assert signal.getsignal(signal.SIGINT) == before
